'use strict';
// The viewer. Cells come matched from Python: a prediction's state never changes, and a true cell is missed where the
// score of the prediction that found it lies below the slider. So moving the slider only filters.
(() => {
  const config = JSON.parse(document.getElementById('config').textContent);
  const byId = (id) => document.getElementById(id);

  // How each state is drawn: dashes and symbols tell them apart without colour. Lengths in screen pixels.
  const HIT = 0, WRONG = 1, ALARM = 2, MISS = 3, FOUND = 4;
  const STATES = config.hasTruth ? [
    { name: 'Hit', dash: [], width: 1.8 },
    { name: 'Wrong class', dash: [8, 2.5, 2, 2.5], width: 2.6, symbol: '≠' },
    { name: 'False alarm', dash: [2.5, 2.5], width: 2.6, symbol: '+' },
    { name: 'Missed', dash: [6, 4], width: 2.2, symbol: '−', fill: 0.3 },
    { name: 'Truth of the found', dash: [], width: 1, off: true, plain: true },
  ] : [{ name: 'Predicted', dash: [], width: 1.8 }];
  const TOLD = 5;  // of the classes that a cell may be of, the likeliest
  const HALF_PIXELS = 2;  // of one pixel, the unit of the outlines

  const canvas = byId('canvas');
  const hitTest = document.createElement('canvas').getContext('2d');
  const view = openView(canvas, paint, point, { e: () => step(1), E: () => step(-1) });
  let cells = [];     // of the open image, in any state
  let visible = [];   // those that the controls let through
  let layers = [];    // the same by state and class
  let picture = null;
  let chosen = null;

  // ---- controls -------------------------------------------------------------------------------------------------

  function addCheck(parent, id, text, sample, checked) {
    const label = document.createElement('label');
    label.className = 'check';
    label.innerHTML = `<input type="checkbox" id="${id}">${sample}<span class="text"></span><output></output>`;
    label.querySelector('.text').textContent = text;
    const box = label.querySelector('input');
    box.checked = checked;
    box.addEventListener('change', filter);
    parent.append(label);
    return { box, count: label.querySelector('output') };
  }

  const stateChecks = STATES.map((state, number) => {
    const line = `<path d="M2 ${state.symbol ? 20 : 12}H32" stroke="#fff" stroke-width="${state.width}"
      stroke-dasharray="${state.dash.join(' ')}"/>`;
    const symbol = state.symbol ? `<text x="17" y="13">${state.symbol}</text>` : '';
    const sample = `<svg viewBox="0 0 34 24" aria-hidden="true">${line}${symbol}</svg>`;
    return addCheck(byId('states'), `state-${number}`, state.name, sample, !state.off);
  });
  const classChecks = config.classes.map(({ name, colour }, number) => {
    const sample = `<span class="swatch" style="background:${colour}"></span>`;
    return addCheck(byId('classes'), `class-${number}`, name, sample, true);
  });
  const slider = byId('score');
  slider.addEventListener('input', filter);
  byId('picture').addEventListener('change', view.draw);

  // ---- what is visible --------------------------------------------------------------------------------------------

  function open(id) {
    const data = JSON.parse(byId(`image-${id}`).textContent);
    const { pred, truth } = data;
    cells = pred.d.map((d, i) => ({
      path: new Path2D(d), box: pred.box[i], label: pred.label[i], state: pred.state[i], from: pred.score[i], to: -1,
      likely: pred.likely[i], score: pred.score[i], iou: pred.iou?.[i], is: pred.state[i] === WRONG ? truth.label[pred.taken[i]] : null,
    }));
    truth.d.forEach((d, i) => {
      const path = new Path2D(d), box = truth.box[i], label = truth.label[i], found = truth.found[i];
      cells.push({ path, box, label, state: MISS, from: Infinity, to: found });
      if (found >= 0) cells.push({ path, box, label, state: FOUND, from: found, to: -1 });
    });
    view.size = data;
    picture = new Image();
    picture.onload = view.draw;
    picture.src = data.src;
    canvas.setAttribute('aria-label', `Cells of ${data.name}`);
    for (const button of document.querySelectorAll('#images button[data-image]')) {
      if (button.dataset.image === String(id)) button.setAttribute('aria-current', 'true');
      else button.removeAttribute('aria-current');
    }
    choose(null);
    view.fit();
    filter();
  }

  // A prediction is there from its score downwards, a miss above the score of what found it.
  const isThere = (cell, threshold) => (cell.state === MISS ? cell.to < threshold : cell.from >= threshold);

  function filter() {
    const threshold = Number(slider.value);
    const counts = STATES.map(() => 0);
    const perClass = config.classes.map(() => 0);
    const groups = new Map();
    visible = [];
    for (const cell of cells) {
      if (!isThere(cell, threshold)) continue;
      if (!stateChecks[cell.state].box.checked) {
        if (classChecks[cell.label].box.checked) counts[cell.state] += 1;
        continue;
      }
      perClass[cell.label] += 1;
      if (!classChecks[cell.label].box.checked) continue;
      counts[cell.state] += 1;
      visible.push(cell);
      const key = cell.state * config.classes.length + cell.label;
      if (!groups.has(key)) groups.set(key, { state: cell.state, label: cell.label, members: [] });
      groups.get(key).members.push(cell);
    }
    // Hits first, so that errors lie on top.
    layers = [...groups.values()].sort((a, b) => a.state % FOUND - b.state % FOUND);
    if (chosen && !visible.includes(chosen)) choose(null);
    stateChecks.forEach(({ count }, state) => { count.textContent = counts[state]; });
    classChecks.forEach(({ count }, label) => { count.textContent = perClass[label]; });
    byId('score-value').textContent = threshold.toFixed(2);
    canvas.dataset.drawn = visible.length;
    announce(counts, threshold);
    view.draw();
  }

  let timer = 0;
  function announce(counts, threshold) {
    // Only once the slider rests: a screen reader would otherwise read every step.
    clearTimeout(timer);
    timer = setTimeout(() => {
      const parts = STATES.slice(0, FOUND).map((state, i) => `${state.name.toLowerCase()} ${counts[i]}`);
      byId('summary').textContent = `At score ${threshold.toFixed(2)}: ${parts.join(', ')}.`;
    }, 300);
  }

  // ---- drawing ----------------------------------------------------------------------------------------------------

  function paint(context) {
    if (byId('picture').checked && picture.complete) context.drawImage(picture, 0, 0, view.size.width, view.size.height);
    context.scale(1 / HALF_PIXELS, 1 / HALF_PIXELS);
    const pixel = HALF_PIXELS / view.scale;  // of the screen, in the unit of the outlines
    context.lineJoin = 'bevel';
    for (const layer of layers) paintLayer(context, layer, pixel);
    context.setLineDash([]);
    paintSymbols(context, pixel);
    if (chosen) paintFrame(context, chosen.box, pixel);
  }

  function paintLayer(context, { state, label, members }, pixel) {
    const { dash, width, fill, plain } = STATES[state];
    const { colour, halo } = config.classes[label];
    // One path a cell: browsers stroke a thousand small paths faster than one that joins them.
    const paths = members.filter(view.isInView).map(({ path }) => path);
    if (fill) {
      context.globalAlpha = fill;
      context.fillStyle = colour;
      for (const path of paths) context.fill(path, 'evenodd');
    }
    if (!plain && !view.moving) {
      context.setLineDash([]);
      context.globalAlpha = 0.5;
      context.strokeStyle = halo;
      context.lineWidth = (width + 1.6) * pixel;
      for (const path of paths) context.stroke(path);
    }
    context.globalAlpha = 1;
    context.setLineDash(dash.map((length) => length * pixel));
    context.strokeStyle = colour;
    context.lineWidth = width * pixel;
    for (const path of paths) context.stroke(path);
  }

  function paintSymbols(context, pixel) {
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.lineWidth = 3 * pixel;
    context.strokeStyle = '#000';
    context.fillStyle = '#fff';
    for (const { state, box: [x, y, w, h] } of visible.filter(view.isInView)) {
      const { symbol } = STATES[state];
      // Symbols shrink with their cells and go before they would hide them.
      const length = Math.min(14, Math.round(Math.max(w, h) * view.scale * 0.7));
      if (!symbol || length < 8) continue;
      context.font = `700 ${length * pixel}px sans-serif`;
      const at = [symbol, (x + w / 2) * HALF_PIXELS, (y + h / 2) * HALF_PIXELS];
      context.strokeText(...at);
      context.fillText(...at);
    }
  }

  function paintFrame(context, [x, y, w, h], pixel) {
    const gap = 6 * pixel;
    const frame = [x * HALF_PIXELS - gap, y * HALF_PIXELS - gap, w * HALF_PIXELS + 2 * gap, h * HALF_PIXELS + 2 * gap];
    for (const [colour, width] of [['#000', 4], ['#fff', 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * pixel;
      context.strokeRect(...frame);
    }
  }

  byId('next-error')?.addEventListener('click', () => step(1));
  byId('previous-error')?.addEventListener('click', () => step(-1));

  // ---- single cells -----------------------------------------------------------------------------------------------

  function describe(cell) {
    const [x, y, w, h] = cell.box;
    const parts = [STATES[cell.state].name, config.classes[cell.label].name];
    if (cell.is !== null && cell.is !== undefined) parts.push(`truth ${config.classes[cell.is].name}`);
    if (cell.score !== undefined) parts.push(`score ${cell.score.toFixed(3)}`);
    if (cell.iou) parts.push(`IoU ${cell.iou.toFixed(2)}`);
    const kinds = [...config.classes.map(({ name }) => name), config.noClass];
    const likely = [];
    const end = Math.min(cell.likely?.length ?? 0, 2 * TOLD);
    for (let i = 0; i < end; i += 2) likely.push(`${kinds[cell.likely[i]]} ${cell.likely[i + 1]} %`);
    const at = `at ${Math.round(x + w / 2)}, ${Math.round(y + h / 2)}`;
    return `${parts.join(', ')}, ${at}${likely.length ? `. Probabilities: ${likely.join(', ')}` : ''}`;
  }

  function choose(cell) {
    chosen = cell;
    byId('info').textContent = cell ? describe(cell) : '';
    view.draw();
  }

  function point(x, y) {
    const under = visible.filter(({ box: [left, top, w, h], path }) => (
      x >= left && y >= top && x <= left + w && y <= top + h
      && hitTest.isPointInPath(path, x * HALF_PIXELS, y * HALF_PIXELS, 'evenodd')));
    // Errors before hits, small cells before what they lie on.
    under.sort((a, b) => b.state % FOUND - a.state % FOUND || a.box[2] * a.box[3] - b.box[2] * b.box[3]);
    if ((under[0] ?? null) !== chosen) choose(under[0] ?? null);
  }

  function step(direction) {
    const errors = visible.filter(({ state }) => STATES[state].symbol);
    if (!errors.length) {
      byId('info').textContent = 'No error is drawn.';
      return;
    }
    // As one reads: in bands of 64 pixels from the top, each from the left.
    const order = ({ box: [x, y] }) => Math.floor(y / 64) * 1e6 + x;
    errors.sort((a, b) => order(a) - order(b));
    const at = errors.indexOf(chosen);
    const next = at < 0 && direction < 0 ? errors.length - 1 : (at + direction + errors.length) % errors.length;
    choose(errors[next]);
    const [x, y, w, h] = errors[next].box;
    const near = Math.min(canvas.clientWidth, canvas.clientHeight) / Math.max(w, h) / 5;
    view.centre(x + w / 2, y + h / 2, Math.max(view.fitScale(), Math.min(near, 8)));
  }

  // ---- the list of images -----------------------------------------------------------------------------------------

  byId('images').addEventListener('click', (event) => {
    const button = event.target.closest('button[data-image]');
    if (button) open(button.dataset.image);
  });
  byId('sort')?.addEventListener('change', ({ target: { value } }) => {
    const compare = value === 'name'
      ? (a, b) => a.dataset.name.localeCompare(b.dataset.name, 'en', { numeric: true })
      : (a, b) => b.dataset[value] - a.dataset[value];
    byId('images').append(...[...byId('images').children].sort(compare));
  });

  const first = document.querySelector('#images button[data-image]');
  if (first) open(first.dataset.image);
  else byId('viewer').hidden = true;
})();
