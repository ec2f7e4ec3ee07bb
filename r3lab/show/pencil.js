// What views with a picture to draw on share: elements, a box with its name, and the drawing of a box by pointer or keys.
// It stands before a view's own script.
const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes = {}, ...inside) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

function drawn(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// A box with a halo, and its name on its colour.
function boxMark({ name, box, colour, ink, dashed }, size, halo) {
  const [x1, y1, x2, y2] = box;
  const group = drawn("g", { class: `r3-box r3-box-${name}` });
  const at = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, fill: "none", "vector-effect": "non-scaling-stroke" };
  const thin = name === "truth";
  group.append(drawn("rect", { ...at, stroke: halo[thin ? 1 : 0], "stroke-width": thin ? 3 : 5, "stroke-opacity": 0.85 }));
  const line = { ...at, stroke: colour, "stroke-width": thin ? 1.4 : 2.8 };
  if (dashed) line["stroke-dasharray"] = name === "best" ? "3 3" : "7 5";
  group.append(drawn("rect", line));
  if (thin) return group;
  const tall = 0.042 * Math.max(...size);
  const wide = tall * (0.6 + 0.52 * name.length);
  const beside = x2 + wide <= size[0] ? x2 : x1 - wide; // names of boxes that lie on each other must not
  const left = Math.min(Math.max(name === "best" ? beside : x1, 0), size[0] - wide);
  const above = y1 - tall;
  const top = name === "policy" ? Math.min(y2, size[1] - tall) : name === "best" || above < 0 ? y1 : above;
  group.append(drawn("rect", { x: left, y: top, width: wide, height: tall, fill: colour, stroke: halo[0], "stroke-width": 0.8,
    "vector-effect": "non-scaling-stroke" }));
  group.append(drawn("text", { x: left + wide / 2, y: top + 0.76 * tall, "font-size": 0.76 * tall, "text-anchor": "middle",
    "font-weight": 700, fill: ink }, name));
  return group;
}

function picture(uri, size, label, hard) {
  const scale = 1000 / Math.max(...size); // a size of its own, so that limits to either side keep its shape
  const svg = drawn("svg", { viewBox: `0 0 ${size[0]} ${size[1]}`, width: size[0] * scale, height: size[1] * scale,
    role: "img", "aria-label": label });
  const image = drawn("image", { width: size[0], height: size[1], preserveAspectRatio: "none", href: uri || "" });
  if (hard) image.style.imageRendering = "pixelated";
  svg.append(image);
  return svg;
}

// Drawing on `board`. `hand.open()` says whether a box may be drawn now, `hand.size()` on a picture of which size; `box`
// is the one in hand, `changed(box)`, `enter()` and, where there is one, `lifted()` are told. Arrow keys move it, with
// Shift they resize it.
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function pencil(board, hand) {
  let from = null;
  const point = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(board.querySelector("svg").getScreenCTM().inverse());
    const [w, h] = hand.size();
    return [Math.min(Math.max(at.x, 0), w), Math.min(Math.max(at.y, 0), h)];
  };
  const ordered = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
  board.addEventListener("pointerdown", (event) => {
    if (!hand.open() || event.button !== 0) return;
    board.setPointerCapture(event.pointerId);
    from = point(event);
    board.focus({ preventScroll: true });
    event.preventDefault();
  });
  board.addEventListener("pointermove", (event) => {
    if (from) hand.changed(ordered(from, point(event)));
  });
  const done = () => { from = null; };
  board.addEventListener("pointerup", () => {
    const drew = from;
    done();
    if (drew && hand.lifted) hand.lifted();
  });
  board.addEventListener("pointercancel", done);
  board.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" && !event.repeat) hand.enter();
    else if (MOVES[event.key] && hand.open()) {
      const [w, h] = hand.size(), step = Math.max(1, Math.round(Math.max(w, h) / 64)), [right, down] = MOVES[event.key];
      let box = hand.box();
      if (!box) box = [0.375 * w, 0.375 * h, 0.625 * w, 0.625 * h];
      else if (event.shiftKey) {
        box = [box[0], box[1], Math.min(w, Math.max(box[0] + step, box[2] + right * step)), Math.min(h, Math.max(box[1] + step, box[3] + down * step))];
      } else {
        const dx = Math.min(Math.max(right * step, -box[0]), w - box[2]), dy = Math.min(Math.max(down * step, -box[1]), h - box[3]);
        box = [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
      }
      hand.changed(box);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return done;
}
