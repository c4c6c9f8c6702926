'use strict';
// What every page uses: numbers as text, axes, sliders, handles for hand and keyboard, words.
const state = JSON.parse(document.getElementById('state').textContent);
const $ = id => document.getElementById(id);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const minus = text => text.replace('-', '−');
const num = (x, digits = 2) =>
  minus((Math.abs(x) < 0.5 * 10 ** -digits ? 0 : x).toFixed(digits));
// 100 as 10²
const power = v => '10' + String(Math.round(Math.log10(v))).replace(/./g, c =>
  c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c]);
const range = n => [...Array(n).keys()];

// An SVG element inside another; the name space is that of the page's own pictures.
function add(parent, tag, attributes = {}, text = '') {
  const node = document.createElementNS(document.querySelector('svg').namespaceURI, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}

// Axes in an <svg id>: p.X and p.Y turn numbers into places; p.ink is emptied before each drawing,
// p.top is not. o: x and y [from, to], xlabel, ylabel, xticks, yticks [...], height, log.
function axes(id, o) {
  const W = 400, H = o.height || 330, L = 62, R = 12, T = 12, B = 52, root = $(id);
  root.setAttribute('viewBox', `0 0 ${W} ${H}`);
  const clip = add(add(add(root, 'defs'), 'clipPath', {id: id + '-box'}), 'rect',
    {x: L, y: T, width: W - L - R, height: H - T - B});
  const back = add(root, 'g'), ink = add(root, 'g', {'clip-path': `url(#${clip.parentNode.id})`});
  const p = {root, ink, L, T, W, H, right: W - R, bottom: H - B, top: add(root, 'g')};
  const up = v => o.log ? Math.log10(Math.max(v, 1e-300)) : v;
  p.X = v => L + (v - o.x[0]) / (o.x[1] - o.x[0]) * (W - L - R);
  p.Y = v => H - B - (up(v) - up(o.y[0])) / (up(o.y[1]) - up(o.y[0])) * (H - T - B);
  p.x = px => o.x[0] + (px - L) / (W - L - R) * (o.x[1] - o.x[0]);
  p.y = px => o.y[0] + (H - B - px) / (H - T - B) * (o.y[1] - o.y[0]);
  p.frame = change => {
    Object.assign(o, change);
    back.replaceChildren();
    for (const v of o.xticks) {
      add(back, 'line', {x1: p.X(v), x2: p.X(v), y1: T, y2: H - B, stroke: 'var(--line)'});
      add(back, 'text', {x: p.X(v), y: H - B + 19, 'text-anchor': 'middle', class: 'tick'},
        minus(String(v)));
    }
    for (const v of o.yticks) {
      add(back, 'line', {x1: L, x2: W - R, y1: p.Y(v), y2: p.Y(v), stroke: 'var(--line)'});
      add(back, 'text', {x: L - 7, y: p.Y(v) + 5, 'text-anchor': 'end', class: 'tick'},
        o.log ? power(v) : minus(String(v)));
    }
    add(back, 'text', {x: (L + W - R) / 2, y: H - 10, 'text-anchor': 'middle'}, o.xlabel);
    add(back, 'text', {x: 16, y: (T + H - B) / 2, 'text-anchor': 'middle',
      transform: `rotate(-90 16 ${(T + H - B) / 2})`}, o.ylabel);
  };
  // A line through points [[x, y], ...]; what leaves the picture stops far outside it.
  p.line = (points, style) => add(p.ink, 'path', {fill: 'none', stroke: 'var(--blue)',
    'stroke-width': 2.5, 'stroke-linejoin': 'round', ...style, d: 'M' + points.map(([a, b]) =>
      clamp(p.X(a), -4e3, 4e3).toFixed(2) + ' ' + clamp(p.Y(b), -4e3, 4e3).toFixed(2)).join('L')});
  p.dot = (a, b, r, style) => Number.isFinite(p.Y(b)) && Math.abs(p.Y(b)) < 4e3 &&
    add(p.ink, 'circle', {cx: p.X(a), cy: p.Y(b), r, fill: 'var(--blue)', ...style});
  p.note = (a, b, text, style) => add(p.ink, 'text', {x: p.X(a), y: p.Y(b), ...style}, text);
  p.frame({});
  return p;
}

// A slider below #controls. o: label, min, max, step, get(), set(value), text(value).
const knobs = [];
function slider(id, o) {
  const label = document.createElement('label'), name = document.createElement('span');
  const output = document.createElement('output'), input = document.createElement('input');
  name.textContent = o.label;
  Object.assign(input, {type: 'range', id, min: o.min, max: o.max, step: o.step});
  input.addEventListener('input', () => { o.set(+input.value); refresh(); });
  label.append(name, output, input);
  $('controls').append(label);
  knobs.push(() => {
    input.value = o.get();
    output.textContent = o.text(o.get());
    input.setAttribute('aria-valuetext', o.text(o.get()));
  });
  return label;
}

// A group of mutually exclusive buttons. o: legend, options {value: label}, get(), set(value).
function choice(o) {
  const group = document.createElement('fieldset'), legend = document.createElement('legend');
  group.className = 'choice';
  legend.textContent = o.legend;
  group.append(legend);
  for (const [value, text] of Object.entries(o.options)) {
    const label = document.createElement('label'), input = document.createElement('input');
    Object.assign(input, {type: 'radio', name: o.legend, value});
    input.addEventListener('change', () => { o.set(value); refresh(); });
    label.append(input, text);
    group.append(label);
    knobs.push(() => { input.checked = o.get() === value; });
  }
  $('controls').before(group);
}

// A point to drag, or to move with the arrow keys. o: label, at() -> [x, y], move(x, y),
// nudge(right, up), text(), color. It says "drag" until somebody has.
function handle(p, o) {
  const g = add(p.top, 'g', {class: 'handle', tabindex: 0, role: 'slider', 'aria-label': o.label,
    id: o.id || '', 'aria-valuenow': 0});
  add(g, 'circle', {r: 22, fill: 'transparent'});
  add(g, 'circle', {r: 15, class: 'ring'});
  add(g, 'circle', {r: 10, fill: o.color || 'var(--red)', stroke: 'var(--paper)',
    'stroke-width': 2});
  const hint = add(g, 'text', {y: -19, 'text-anchor': 'middle'}, o.hint || 'drag');
  const place = event => {
    const box = p.root.getBoundingClientRect(), scale = p.W / box.width;
    hint.remove();
    o.move(p.x((event.clientX - box.left) * scale), p.y((event.clientY - box.top) * scale));
    refresh();
  };
  // Inside an <svg> touch-action is not obeyed: without this, a finger's drag becomes a scroll.
  g.addEventListener('touchstart', event => event.preventDefault(), {passive: false});
  g.addEventListener('pointerdown', event => g.setPointerCapture(event.pointerId));
  g.addEventListener('pointermove', event => {
    if (g.hasPointerCapture(event.pointerId)) place(event);
  });
  g.addEventListener('keydown', event => {
    const step = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
    if (!step[event.key]) return;
    event.preventDefault();
    hint.remove();
    o.nudge(...step[event.key].map(k => k * (event.shiftKey ? 5 : 1)));
    refresh();
  });
  knobs.push(() => {
    const [a, b] = o.at();
    g.setAttribute('transform',
      `translate(${clamp(p.X(a), p.L, p.right)} ${clamp(p.Y(b), p.T, p.bottom)})`);
    g.setAttribute('aria-valuetext', o.text());
    g.setAttribute('aria-valuenow', num(a).replace('−', '-'));
  });
}

// The words below the picture; tone: a colour of the style.
function say(tone, verdict, text) {
  const bold = document.createElement('b');
  bold.textContent = verdict;
  $('says').style.setProperty('--tone', `var(--${tone})`);
  $('says').replaceChildren(bold, text);
}

// Pages define show(); everything that changes the state calls refresh().
function refresh() {
  for (const knob of knobs) knob();
  show();
}
