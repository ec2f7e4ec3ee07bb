// Moves through the moments of players and rivers, and reads out tokens. No library, no network, no markup from text.
// Without it every moment stands on the page.
"use strict";
function r3lab(scope, page) {
  const players = [...scope.querySelectorAll(".r3-player")].filter((root) => !root.classList.contains("r3-on"));
  const moves = new Map();

  for (const root of players) {
    const names = root.dataset.labels.split("|");
    const slider = root.querySelector(".r3-controls input[type=range]");
    const output = root.querySelector(".r3-controls output");
    const buttons = Object.fromEntries(
      [...root.querySelectorAll("button[data-go]")].map((button) => [button.dataset.go, button]),
    );
    const parts = [...root.querySelectorAll("[data-from]")].map((part) => ({
      part,
      from: Number(part.dataset.from),
      to: part.dataset.to === undefined ? Infinity : Number(part.dataset.to),
    }));
    let at = Number(root.dataset.at);

    const go = (wanted) => {
      at = Math.min(Math.max(wanted, 0), names.length - 1);
      for (const { part, from, to } of parts) {
        part.classList.toggle("gone", at < from || at > to);
        part.classList.toggle("now", at === from);
        part.dataset.age = Math.min(Math.max(at - from, 0), 4);
      }
      root.dataset.at = at;
      slider.value = at;
      slider.setAttribute("aria-valuetext", names[at]);
      output.textContent = names[at];
      buttons.start.disabled = buttons.back.disabled = at === 0;
      buttons.forward.disabled = at === names.length - 1;
      const text = root.querySelector(".r3-text");
      const now = text && text.querySelector(".now");
      if (now) text.scrollTop = now.offsetTop - text.offsetTop; // never scrolls the page
    };
    const steps = { start: () => go(0), back: () => go(at - 1), forward: () => go(at + 1) };
    for (const [name, button] of Object.entries(buttons)) button.addEventListener("click", steps[name]);
    slider.addEventListener("input", () => go(Number(slider.value)));
    for (const box of root.querySelectorAll("input[data-switch]")) {
      box.addEventListener("change", () => root.classList.toggle(box.dataset.switch, box.checked));
    }
    const keys = { ArrowLeft: steps.back, ArrowRight: steps.forward, Home: steps.start, End: () => go(names.length) };
    const press = (event) => {
      const act = !event.altKey && !event.ctrlKey && !event.metaKey && keys[event.key];
      if (!act) return;
      act();
      event.preventDefault();
      event.stopPropagation();
    };
    root.addEventListener("keydown", press);
    moves.set(root, press);
    root.classList.add("r3-on");
    go(at);
  }

  // On a page of its own, arrow keys also work before anything has the focus: for the player nearest to the middle.
  if (page && players.length) {
    document.addEventListener("keydown", (event) => {
      if (event.target !== document.body || (event.key !== "ArrowLeft" && event.key !== "ArrowRight")) return;
      const off = (root) => {
        const box = root.getBoundingClientRect();
        return Math.abs((box.top + box.bottom - window.innerHeight) / 2);
      };
      moves.get(players.reduce((best, root) => (off(root) < off(best) ? root : best)))(event);
    });
  }

  for (const ribbon of scope.querySelectorAll(".r3-ribbon:not(.r3-on)")) {
    ribbon.classList.add("r3-on");
    const tokens = ribbon.querySelector(".r3-tokens");
    const readout = ribbon.querySelector(".r3-readout");
    let here = null;
    const read = (token) => {
      if (!token || token === here) return;
      if (here) here.classList.remove("here");
      here = token;
      here.classList.add("here");
      readout.textContent = token.title;
    };
    const group = `r3-${Math.random().toString(36).slice(2)}`; // of these buttons alone, also where a view stands twice
    for (const choice of ribbon.querySelectorAll(".r3-measures input")) {
      choice.name = group;
      choice.addEventListener("change", () => {
        tokens.dataset.show = choice.value;
        for (const scale of ribbon.querySelectorAll(".r3-scale > [data-measure]")) {
          scale.hidden = scale.dataset.measure !== choice.value;
        }
      });
    }
    tokens.addEventListener("pointerover", (event) => read(event.target.closest("i")));
    tokens.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const all = [...tokens.querySelectorAll("i")];
      const next = here ? all.indexOf(here) + (event.key === "ArrowRight" ? 1 : -1) : 0;
      const token = all[Math.min(Math.max(next, 0), all.length - 1)];
      read(token);
      const [box, frame] = [token.getBoundingClientRect(), tokens.getBoundingClientRect()];
      if (box.top < frame.top) tokens.scrollTop += box.top - frame.top - 8;
      if (box.bottom > frame.bottom) tokens.scrollTop += box.bottom - frame.bottom + 8;
      event.preventDefault();
      event.stopPropagation();
    });
  }
}
