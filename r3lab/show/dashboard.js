// The charts of a dashboard, from the data that dashboard.py writes: drawn by Plotly as they come into view, switched by
// checkboxes, so that a keyboard reaches them, in the page's colours. Foreign text becomes text nodes and attributes
// alone, and in Plotly a name that dashboard.py made plain.
function view(scope) {
  const BOLD = 2.2, THIN = 1.1; // pixels
  const UNIFIED = 8; // groups up to which all values at a step stand in one label
  const SPOKEN = 6; // groups up to which more than the smoothed value is told

  const make = (tag, fields = {}, ...inside) => {
    const svg = tag === "svg" || tag === "line";
    const found = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(fields)) found.setAttribute(name, value);
    found.append(...inside);
    return found;
  };

  const board = (root) => {
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const { groups, panels } = data;
    const few = groups.length <= SPOKEN, unified = groups.length <= UNIFIED;

    // The lines of a panel, those that lie above others later; `meta` is the number of the group, which switches it.
    const outline = (one) => {
      // The band: there and back, a stretch at a time.
      const x = [], y = [];
      for (let from = 0, to; from < one.steps.length; from = to + 1) {
        for (to = from; to < one.steps.length && one.low[to] !== null; ) to++;
        const part = (values) => values.slice(from, to);
        x.push(...part(one.steps), ...part(one.steps).reverse(), null);
        y.push(...part(one.low), ...part(one.high).reverse(), null);
      }
      return { x, y };
    };
    const traces = (panel) => {
      const how = panel.kind === "share" ? ".1%" : panel.share ? ".3~p" : ".4~g";
      const below = [], above = [];
      panel.lines.forEach((one, meta) => {
        if (!one) return;
        const { name, colour: color, dashes } = groups[meta];
        const dash = dashes ? dashes.map((part) => `${Math.max(1, BOLD * part)}px`).join(",") : "solid";
        const bold = { type: "scatter", meta, x: one.steps, y: one.mean, line: { color, width: BOLD, dash } };
        const banded = one.low.some((value) => value !== null);
        const silent = { type: "scatter", mode: "lines", hoverinfo: "skip", meta, line: { color, width: THIN } };
        if (banded) below.push({ ...silent, ...outline(one), line: { width: 0 }, fill: "toself", fillcolor: `${color}38` });
        if (data.faint) below.push({ ...silent, x: one.steps, y: one.raw, opacity: one.runs > 1 ? 0.28 : 0.4 });
        for (const [x, y] of one.tails) below.push({ ...silent, x, y, opacity: 0.7 });
        let said = `${unified ? "" : "step %{x}<br>"}${name}: <b>%{y:${how}}</b>`;
        if (few && banded) said += ` (%{customdata[0]:${how}} to %{customdata[1]:${how}}, ${one.runs} runs)`;
        else if (few && data.smooth > 1) said += ` (as logged %{customdata:${how}})`;
        const mode = one.mean.filter((value) => value !== null).length > 12 ? "lines" : "lines+markers";
        const customdata = banded ? one.low.map((low, i) => [low, one.high[i]]) : one.raw;
        above.push({ ...bold, mode, customdata, hovertemplate: `${said}<extra></extra>` });
      });
      return [...below, ...above];
    };
    const axes = (panel) => {
      const yaxis = { range: panel.range, nticks: 5, exponentformat: "e" };
      if (panel.share) yaxis.tickformat = "~p";
      if (panel.kind === "share") yaxis.tickvals = [0, 0.5, 1];
      return { xaxis: { title: { text: "step", standoff: 4 }, nticks: 5 }, yaxis };
    };

    // What stands on the page: a checkbox a group and a panel, a figure a panel, the numbers at the end.
    const box = (kind, number) => make("input", { type: "checkbox", checked: "", [`data-${kind}`]: number });
    const runs = make("fieldset", { class: "r3-runs" }, make("legend", {}, "Runs"));
    groups.forEach(({ label, colour, dashes }, number) => {
      const dash = dashes ? { "stroke-dasharray": dashes.map((part) => BOLD * part).join(" ") } : {};
      const line = make("line", { x1: 0, x2: 34, y1: 5, y2: 5, stroke: colour, "stroke-width": BOLD, ...dash });
      const sign = make("svg", { viewBox: "0 0 34 10", "aria-hidden": "true" }, line);
      runs.append(make("label", {}, box("group", number), sign, make("span", {}, label)));
    });
    if (groups.length > 2) {
      for (const [name, words] of [["on", "All"], ["off", "None"]]) {
        runs.append(make("button", { type: "button", "data-all": name }, words));
      }
    }
    const choice = make("fieldset", {}, make("legend", {}, "Panels"));
    const charts = panels.map((panel, number) => {
      choice.append(make("label", {}, box("panel", number), make("span", {}, panel.title)));
      const home = make("div", { class: "r3-plot", "data-chart": number, role: "img", "aria-label": panel.words });
      const figure = make("figure", {}, make("figcaption", {}, panel.title), home);
      return { home, figure, panel, traces: traces(panel), ...axes(panel), drawn: false };
    });
    const sections = new Map();
    for (const { panel, figure } of charts) {
      if (!sections.has(panel.section)) sections.set(panel.section, make("div", { class: "r3-charts" }));
      sections.get(panel.section).append(figure);
    }
    const head = make("tr", {}, make("th", { scope: "col" }, "Smoothed, at the end"));
    for (const { label } of groups) head.append(make("th", { scope: "col", class: "number" }, label));
    const rows = panels.map(({ title, ends }) => {
      const cells = ends.map((end) => make("td", { class: "number" }, end === "none" ? "\u2013" : end));
      return make("tr", {}, make("th", { scope: "row" }, title), ...cells);
    });
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
    root.append(
      runs,
      make("details", { class: "r3-choose" }, make("summary", {}, "Choose panels"), choice),
      ...[...sections].map(([name, inside]) => make("section", {}, make("h2", {}, name), inside)),
      make("details", {}, make("summary", {}, "Numbers at the end"), make("div", { class: "r3-scroll" }, table)),
    );
    root.classList.add("r3-on");

    const off = new Set();
    const touch = window.matchMedia("(pointer: coarse)").matches;
    const layout = (chart) => {
      const found = getComputedStyle(root);
      const of = (name) => found.getPropertyValue(`--${name}`).trim();
      const axis = { gridcolor: of("faint"), linecolor: of("faint"), zeroline: false, color: of("muted") };
      const ink = { color: of("ink"), size: 11 };
      return {
        autosize: true,
        height: 190,
        margin: { l: 52, r: 10, t: 6, b: 34 },
        paper_bgcolor: of("paper"),
        plot_bgcolor: of("paper"),
        font: { family: "system-ui, 'DejaVu Sans', Arial, sans-serif", ...ink },
        hovermode: unified ? "x unified" : "closest", // one label for all lines, as long as they are few
        hoverlabel: { bgcolor: of("panel"), bordercolor: of("muted"), font: ink, namelength: -1 },
        dragmode: touch ? false : "zoom",
        showlegend: false,
        xaxis: { ...chart.xaxis, ...axis, showgrid: false },
        yaxis: { ...chart.yaxis, ...axis },
      };
    };
    const draw = (chart) => {
      if (chart.drawn || chart.figure.hidden) return;
      chart.drawn = true;
      const shown = chart.traces.map((trace) => ({ ...trace, visible: !off.has(trace.meta) }));
      const options = { displayModeBar: false, responsive: true, doubleClick: "reset", showTips: false };
      window.Plotly.newPlot(chart.home, shown, layout(chart), options);
    };
    const apply = () => {
      for (const box of root.querySelectorAll("input[data-group]")) {
        off[box.checked ? "delete" : "add"](Number(box.dataset.group));
      }
      for (const chart of charts) {
        if (chart.drawn) window.Plotly.restyle(chart.home, { visible: chart.traces.map((t) => !off.has(t.meta)) });
      }
    };
    runs.addEventListener("change", apply);
    for (const button of runs.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        for (const box of runs.querySelectorAll("input")) box.checked = button.dataset.all === "on";
        apply();
      });
    }
    choice.addEventListener("change", ({ target }) => {
      const chart = charts[Number(target.dataset.panel)];
      const section = chart.figure.closest("section");
      chart.figure.hidden = !target.checked;
      section.hidden = [...section.querySelectorAll("figure")].every((figure) => figure.hidden);
      if (target.checked) near.observe(chart.home);
    });
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
    const later = (call) => (window.requestIdleCallback ? window.requestIdleCallback(call) : setTimeout(call, 200));
    const rest = () => {
      // What is not in view is drawn when there is nothing else to do.
      const next = charts.find((chart) => !chart.drawn && !chart.figure.hidden);
      if (!next) return;
      draw(next);
      later(rest);
    };
    later(rest);
    window.addEventListener("beforeprint", () => charts.forEach(draw));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const chart of charts) if (chart.drawn) window.Plotly.relayout(chart.home, layout(chart));
    });
  };
  for (const root of scope.querySelectorAll(".r3-board:not(.r3-on)")) {
    if (window.Plotly) board(root); // else the picture stays
  }
}
