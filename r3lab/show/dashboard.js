// The charts of a dashboard: drawn by Plotly as they come into view, switched by checkboxes, in the page's colours.
// What it shows is data; no text becomes markup here but the names that dashboard.py made plain.
function view(scope) {
  for (const root of scope.querySelectorAll(".r3-board:not(.r3-on)")) {
    if (!window.Plotly) return; // the picture stays
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const charts = [...root.querySelectorAll("[data-chart]")].map((home) => ({
      home,
      figure: home.closest("figure"),
      section: home.closest("section"),
      ...data.charts[Number(home.dataset.chart)],
      drawn: false,
    }));
    const off = new Set();
    const touch = window.matchMedia("(pointer: coarse)").matches;

    const colours = () => {
      const found = getComputedStyle(root);
      const of = (name) => found.getPropertyValue(`--${name}`).trim();
      return { paper: of("paper"), panel: of("panel"), ink: of("ink"), muted: of("muted"), faint: of("faint") };
    };
    const layout = (chart) => {
      const own = colours();
      const axis = { gridcolor: own.faint, linecolor: own.faint, zeroline: false, color: own.muted };
      return {
        autosize: true,
        height: 190,
        margin: { l: 52, r: 10, t: 6, b: 34 },
        paper_bgcolor: own.paper,
        plot_bgcolor: own.paper,
        font: { family: "system-ui, 'DejaVu Sans', Arial, sans-serif", size: 11, color: own.ink },
        hovermode: data.hovermode,
        hoverlabel: { bgcolor: own.panel, bordercolor: own.muted, font: { color: own.ink, size: 11 }, namelength: -1 },
        dragmode: touch ? false : "zoom",
        showlegend: false,
        xaxis: { ...chart.xaxis, ...axis, showgrid: false },
        yaxis: { ...chart.yaxis, ...axis },
      };
    };
    const draw = (chart) => {
      if (chart.drawn || chart.figure.hidden) return;
      chart.drawn = true;
      const traces = chart.traces.map((trace) => ({ ...trace, visible: !off.has(trace.meta) }));
      window.Plotly.newPlot(chart.home, traces, layout(chart), {
        displayModeBar: false,
        responsive: true,
        doubleClick: "reset",
        showTips: false,
      });
    };
    const apply = () => {
      for (const chart of charts) {
        if (chart.drawn) window.Plotly.restyle(chart.home, { visible: chart.traces.map((t) => !off.has(t.meta)) });
      }
    };

    const groups = [...root.querySelectorAll("input[data-group]")];
    for (const box of groups) {
      box.addEventListener("change", () => {
        off[box.checked ? "delete" : "add"](Number(box.dataset.group));
        apply();
      });
    }
    for (const button of root.querySelectorAll("button[data-all]")) {
      button.addEventListener("click", () => {
        for (const box of groups) {
          box.checked = button.dataset.all === "on";
          off[box.checked ? "delete" : "add"](Number(box.dataset.group));
        }
        apply();
      });
    }
    for (const box of root.querySelectorAll("input[data-panel]")) {
      const chart = charts[Number(box.dataset.panel)];
      box.addEventListener("change", () => {
        chart.figure.hidden = !box.checked;
        chart.section.hidden = charts.every((one) => one.section !== chart.section || one.figure.hidden);
        if (box.checked) near.observe(chart.home);
      });
    }

    root.classList.add("r3-on");
    const near = new IntersectionObserver(
      (seen) => {
        for (const { isIntersecting, target } of seen) {
          if (!isIntersecting) continue;
          near.unobserve(target);
          draw(charts[Number(target.dataset.chart)]);
        }
      },
      { rootMargin: "400px" },
    );
    for (const chart of charts) near.observe(chart.home);
    const rest = () => {
      // What is not in view is drawn when there is nothing else to do.
      const next = charts.find((chart) => !chart.drawn && !chart.figure.hidden);
      if (next) draw(next);
      if (next) later(rest);
    };
    const later = (call) => (window.requestIdleCallback ? window.requestIdleCallback(call) : setTimeout(call, 200));
    later(rest);
    window.addEventListener("beforeprint", () => charts.forEach(draw));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const chart of charts) if (chart.drawn) window.Plotly.relayout(chart.home, layout(chart));
    });
  }
}
