// Annotate: boxes are drawn, question and answer written; each change is sent and is on the disk when the count comes
// back. Text goes into input values and text nodes only.
function render({ model, el }) {
  const root = make("div", { class: "r3 r3-game", role: "group", "aria-label": "Annotate pictures", "data-lm-suppress-shortcuts": "true" });
  const bar = make("div", { class: "r3-bar" });
  const title = make("p", { class: "r3-title" });
  const board = make("div", { class: "r3-board", tabindex: "0", role: "application",
    "aria-label": "Picture to draw boxes on. Arrow keys move a new box, with Shift they resize it, Enter keeps it." });
  const question = make("textarea", { rows: "2", class: "r3-question", "aria-label": "Question" });
  const answer = make("input", { type: "text", class: "r3-answer", "aria-label": "Answer" });
  const needs = make("select", { "aria-label": "Is a closer look needed?" });
  for (const [value, text] of [["", "not said"], ["true", "needed"], ["false", "not needed"]]) needs.append(make("option", { value }, text));
  const buttons = make("div", { class: "r3-buttons" });
  const notice = make("p", { role: "status" });
  const labelled = (text, field) => make("p", {}, make("label", {}, text, field));
  root.append(bar, title, make("div", { class: "r3-table" }, make("div", {}, board),
    make("div", {}, labelled("Question ", question), labelled("Answer ", answer), labelled("A closer look is ", needs), buttons, notice)));
  el.append(root);

  let state = {}, at = -1, box = null, boxes = [];
  const entry = () => ({ question: question.value, answer: answer.value, boxes,
    needs_look: needs.value === "" ? null : needs.value === "true" });
  const send = (wish, more = {}) => model.send({ do: wish, at: state.at, entry: entry(), ...more });
  const write = () => send("write");
  const button = (text, act, disabled, main) => {
    const one = make("button", { type: "button", ...(main ? { class: "main" } : {}) }, text);
    one.disabled = disabled;
    one.addEventListener("click", act);
    return one;
  };

  function draw() {
    board.replaceChildren(picture(model.get("picture"), state.size, "The picture", false));
    for (const one of boxes) board.firstChild.append(boxMark({ ...state.kept, box: one }, state.size, state.halo));
    if (box) board.firstChild.append(boxMark({ ...state.hand, box }, state.size, state.halo));
  }

  function tell() {
    bar.replaceChildren(make("span", {}, "Row ", make("b", {}, String(state.at + 1)), ` of ${state.of}`),
      make("span", {}, make("b", {}, String(state.whole)), " with question and answer"), make("span", {}, make("bdi", {}, state.file)));
    title.replaceChildren(make("bdi", {}, state.image));
    buttons.replaceChildren(
      button("Next", () => send("go", { to: state.at + 1 }), state.at + 1 >= state.of, true),
      button("Previous", () => send("go", { to: state.at - 1 }), state.at === 0),
      button("Another question on this picture", () => send("another")),
      button("Remove the last box", () => { boxes = boxes.slice(0, -1); draw(); write(); }, !boxes.length));
    const told = state.notice || (state.left_out.length ? `left out: ${state.left_out.join("; ")}`
      : "Draw a box around what the answer is read from. Every change is saved.");
    if (notice.textContent !== told) notice.textContent = told;
    notice.classList.toggle("r3-refused", Boolean(state.notice));
  }

  function keep() {
    if (box && box[2] > box[0] && box[3] > box[1]) boxes = [...boxes, box];
    box = null;
    draw();
    write();
  }
  const drop = pencil(board, {
    open: () => Boolean(state.size),
    size: () => state.size,
    box: () => box,
    changed: (drawing) => { box = drawing; draw(); },
    lifted: () => box && keep(),
    enter: () => box && keep(),
  });
  for (const field of [question, answer, needs]) field.addEventListener("input", write);

  const take_up = () => {
    state = { ...model.get("state") };
    if (state.at !== at || state.notice) { // another row, or one that was refused: as it is on the disk
      at = state.at;
      box = null;
      drop();
      boxes = state.boxes;
      if (!state.notice) {
        question.value = state.question;
        answer.value = state.answer;
        needs.value = state.needs_look === null ? "" : String(state.needs_look);
      }
    }
    draw();
    tell();
  };
  model.on("change:state", take_up);
  model.on("change:picture", draw);
  take_up();
  return () => {
    model.off("change:state", take_up);
    model.off("change:picture", draw);
  };
}

export default { render };
