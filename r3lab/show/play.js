// Be the policy: a box is drawn by pointer or keys and sent; all that is shown comes from the kernel. No library, no
// network; text goes into text nodes only. The box that is sent is checked again where it arrives.
const NAMES = { you: "you", policy: "policy", best: "best window", truth: "true region" };

function tableOf(head, rows, numbers, you) {
  const cell = (name, text, place) => make(name, numbers.has(place) ? { class: "number" } : {}, make("bdi", {}, text));
  const body = rows.map((row, n) => make("tr", n === you ? { class: "r3-you" } : {}, ...row.map((text, i) => cell("td", text, i))));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map((text, i) => cell("th", text, i)))), make("tbody", {}, ...body));
}

function render({ model, el }) {
  const root = make("div", { class: "r3 r3-game", role: "group", "aria-label": "Be the policy", "data-lm-suppress-shortcuts": "true" });
  const home = model.get("still");
  if (/^[\w-]+$/.test(home)) root.append(make("style", {}, `#${home}{display:none}`)); // while this is alive
  const bar = make("div", { class: "r3-bar" });
  const title = make("p", { class: "r3-title" });
  const board = make("div", { class: "r3-board", tabindex: "0", role: "application" });
  const peek = make("input", { type: "checkbox" });
  const peeking = make("label", {}, peek, "Show the photograph (the policy sees only the overview)");
  const keys = make("div", { class: "r3-keys" });
  const buttons = make("div", { class: "r3-buttons" });
  const notice = make("p", { role: "status" });
  const work = make("div", { class: "r3-work" });
  const found = make("div", {});
  const map = make("div", { class: "r3-map" });
  const end = make("div", { class: "r3-end" });
  root.append(bar, title, make("div", { class: "r3-table" },
    make("div", {}, board, keys, peeking), make("div", {}, buttons, notice, found, work)), map, end);
  el.append(root);

  let state = {}, box = null, pending = false, turn = -1;
  const send = (wish, more = {}) => {
    pending = true;
    model.send({ do: wish, turn: state.number, ...more });
    draw();
    board.focus({ preventScroll: true }); // Enter goes on from here
  };
  const button = (text, act, main, disabled) => {
    const one = make("button", { type: "button", ...(main ? { class: "main" } : {}) }, text);
    one.disabled = disabled || pending;
    one.addEventListener("click", act);
    return one;
  };
  const take = () => box && !pending && state.phase === "choose" && send("look", { box });
  const next = () => !pending && state.phase === "seen" && !state.rows && send("next");

  function drawBox() { // the one in hand
    if (state.phase !== "choose") return;
    board.querySelector(".r3-box-you")?.remove();
    const svg = board.querySelector("svg");
    if (svg && box) {
      svg.append(boxMark({ ...state.hand, box }, state.size, state.halo));
    }
    const main = buttons.querySelector(".main");
    if (main) main.disabled = !box || pending;
    if (!state.notice && !pending) say(box
      ? `Your box: ${Math.round(box[2] - box[0])} by ${Math.round(box[3] - box[1])} pixels at ${Math.round(box[0])}, ${Math.round(box[1])}. Enter takes the look.`
      : `This is all that the policy sees: ${state.overview[0]} by ${state.overview[1]} pixels. Draw the box of a look, or say that no look is needed. Keys: arrows move the box, with Shift they resize it, Enter takes the look.`);
  }

  function say(text, refused) {
    if (notice.textContent !== text) notice.textContent = text;
    notice.classList.toggle("r3-refused", Boolean(refused));
  }

  function draw() {
    const pictures = model.get("pictures");
    const known = Boolean(state.size);
    bar.replaceChildren();
    if (known) {
      bar.append(make("span", {}, "Sample ", make("b", {}, String(state.number)), ` of ${state.of}`));
      bar.append(make("span", {}, "Reward so far: you ", make("b", {}, state.total[0]), ", the policy ", make("b", {}, state.total[1])));
    }
    if (state.left_out) bar.append(make("span", {}, `left out, since the policy gives no answer: ${state.left_out}`));
    title.replaceChildren(make("bdi", {}, state.question || "Be the policy"));
    const seen = state.phase === "seen", chosen = state.phase === "choose";
    board.classList.toggle("done", !chosen);
    board.hidden = !known;
    peeking.hidden = !chosen;
    if (known) {
      const small = !seen && !peek.checked;
      const label = small ? "The overview, as the policy sees it" : "The photograph";
      board.replaceChildren(picture(small ? pictures.overview : pictures.photo, state.size, label, small));
      board.setAttribute("aria-label", chosen
        ? "Picture to draw a box on. Arrow keys move the box, with Shift they resize it, Enter takes the look."
        : "The photograph with the boxes. Enter goes on to the next sample.");
      if (seen) for (const one of state.boxes) board.firstChild.append(boxMark(one, state.size, state.halo));
    }
    keys.replaceChildren(...(seen ? state.boxes : []).map(({ name, colour, dashed }) => {
      const key = make("span", {}, NAMES[name]);
      key.style.setProperty("--of", colour);
      if (dashed) key.style.setProperty("--line", name === "best" ? "dotted" : "dashed");
      if (name === "truth") key.style.setProperty("--edge", "1px");
      return key;
    }));
    buttons.replaceChildren();
    if (chosen) {
      buttons.append(button("Take this look", take, true, !box), button("No look needed", () => send("none")));
    } else if (seen && !state.rows) {
      buttons.append(button(`Next sample (${state.number + 1} of ${state.of})`, next, true));
    }
    if (state.notice) say(state.notice, true);
    else if (pending) say(chosen ? "The policy goes on ..." : "The policy answers the next sample ...");
    else if (state.phase === "wait") say("The policy answers the first sample ...");
    else if (seen) say(state.said[0]);
    found.replaceChildren(...(seen ? results(pictures) : []));
    map.replaceChildren(...(seen && pictures.map ? [make("img", { src: pictures.map, alt: "Value map: what a look would have been worth at each place" })] : []));
    end.replaceChildren(...(state.rows ? ending() : []));
    end.hidden = !state.rows;
    drawWork();
    drawBox();
  }

  function results(pictures) {
    const parts = make("div", { class: "r3-found" });
    if (state.crop && pictures.crop) {
      const [w, h] = state.crop.size;
      parts.append(make("figure", {}, make("img", { src: pictures.crop, alt: `Your crop, ${w} by ${h} pixels` }),
        make("figcaption", {}, `Your crop, zoom ${state.crop.zoom}, ${w} by ${h} pixels`)));
    }
    parts.append(make("div", {}, make("p", { class: "r3-note" }, state.crop ? "From your crop the policy wrote:" : "Without a crop the policy wrote:"),
      make("p", { class: "r3-wrote" }, make("bdi", {}, state.wrote))));
    const all = [parts, make("p", { class: "r3-note" }, "Nats are the log-probability of the words with the right answer:"),
      tableOf(["", ...state.columns], state.numbers, new Set([3, 4]), 0)];
    for (const text of state.said.slice(1)) all.push(make("p", {}, text));
    return all;
  }

  function ending() {
    const [you, policy] = state.total;
    return [make("p", { class: "r3-title" }, `You ${you}, the policy ${policy}`),
      make("div", { class: "r3-scroll" }, tableOf(state.titles, state.rows, new Set([4, 5, 8, 9, 10]), -1)),
      make("p", { class: "r3-note" }, "Rewards are what the trainer pays for each choice; nats are the log-probability of the right answer. Run the cell again for a new game.")];
  }

  function drawWork() {
    const share = model.get("progress");
    const busy = state.phase === "choose" || (state.phase === "seen" && !state.measured);
    work.replaceChildren();
    if (busy && share < 1) work.append(make("progress", { max: "1", value: String(share), "aria-label": "Value map" }), `value map ${Math.round(100 * share)} %`);
  }

  const drop = pencil(board, {
    open: () => state.phase === "choose" && !pending,
    size: () => state.size,
    box: () => box,
    changed: (drawing) => {
      box = drawing;
      state.notice = "";
      drawBox();
    },
    enter: () => (state.phase === "choose" ? take() : next()),
  });
  peek.addEventListener("change", draw);

  const take_up = () => {
    state = { ...model.get("state") };
    pending = false;
    if (state.number !== turn) {
      turn = state.number;
      box = null;
      drop();
      peek.checked = false;
    }
    draw();
  };
  model.on("change:state", take_up);
  model.on("change:pictures", draw);
  model.on("change:progress", drawWork);
  take_up();
  model.send({ do: "hello" });
  return () => {
    model.off("change:state", take_up);
    model.off("change:pictures", draw);
    model.off("change:progress", drawWork);
  };
}

export default { render };
