'use strict';
// The viewer of a slide. From afar it shows how many cells there are; from nearby their outlines, loaded square by square.
(() => {
  const { classes, mpp, size, squares, chunks, picture: source } = JSON.parse(document.getElementById('config').textContent);
  const byId = (id) => document.getElementById(id);
  const HALF_PIXELS = 2;  // of one pixel, the unit of the outlines
  const MOST_IN_VIEW = 24, MOST_KEPT = 96;  // files
  const REACH = 64;  // pixels by which cells reach beyond the square that their centres lie in

  const canvas = byId('canvas');
  const hitTest = document.createElement('canvas').getContext('2d');
  const names = new Set(chunks.names);
  const loaded = new Map();  // cells by the name of their square; the one that was seen last is the last
  const boxes = [...document.querySelectorAll('input.class')];
  const density = document.createElement('canvas');
  const picture = new Image();
  let visible = [];
  let most = 0;
  let chosen = null;
  const view = openView(canvas, paint, point, {});

  // ---- what is loaded ---------------------------------------------------------------------------------------------

  window.addCells = (name, cells) => {
    const kept = loaded.get(name);
    for (const [id, label, score, x, y, w, h, path] of cells) {
      kept?.push({ id, label, score, box: [x, y, w, h], path: new Path2D(path) });
    }
  };

  /** Names of the squares in view that hold cells; null from afar. */
  function squaresInView() {
    const first = [view.x, view.y].map((at) => Math.floor(Math.max(at - REACH, 0) / chunks.side));
    const last = [view.x + canvas.clientWidth / view.scale, view.y + canvas.clientHeight / view.scale]
      .map((at, i) => Math.floor((Math.min(at, i ? size.height : size.width) + REACH) / chunks.side));
    if ((last[0] - first[0] + 1) * (last[1] - first[1] + 1) > MOST_IN_VIEW) return null;
    const found = [];
    for (let row = first[1]; row <= last[1]; row += 1) {
      for (let column = first[0]; column <= last[0]; column += 1) {
        if (names.has(`${column}_${row}`)) found.push(`${column}_${row}`);
      }
    }
    return found;
  }

  function load(name) {
    const cells = loaded.get(name) ?? [];
    if (loaded.delete(name)) {
      loaded.set(name, cells);
      return cells;
    }
    loaded.set(name, cells);
    const script = document.createElement('script');
    script.src = `cells_files/${name}.js`;
    script.onload = () => { script.remove(); view.draw(); };
    script.onerror = () => { byId('summary').textContent = `${script.src} is missing: keep cells_files beside the page.`; };
    document.head.append(script);
    for (const old of loaded.keys()) {
      if (loaded.size <= MOST_KEPT) break;
      loaded.delete(old);
    }
    return cells;
  }

  // ---- drawing ----------------------------------------------------------------------------------------------------

  function paint(context) {
    if (byId('picture').checked && picture.complete) context.drawImage(picture, 0, 0, size.width, size.height);
    const near = squaresInView();
    visible = near ? near.flatMap(load).filter((cell) => boxes[cell.label].checked && view.isInView(cell)) : [];
    canvas.dataset.drawn = visible.length;
    canvas.dataset.loaded = loaded.size;
    if (near) paintCells(context);
    else paintDensity(context);
  }

  function paintCells(context) {
    context.scale(1 / HALF_PIXELS, 1 / HALF_PIXELS);
    const pixel = HALF_PIXELS / view.scale;  // of the screen, in the unit of the outlines
    context.lineJoin = 'bevel';
    for (const [key, width, alpha] of [['halo', 3.2, 0.5], ['colour', 1.6, 1]]) {
      if (view.moving && key === 'halo') continue;
      context.globalAlpha = alpha;
      for (const cell of visible) {
        context.strokeStyle = classes[cell.label][key];
        context.lineWidth = (cell === chosen ? 2 : 1) * width * pixel;
        context.stroke(cell.path);
      }
    }
    context.globalAlpha = 1;
    byId('summary').textContent = `${visible.length.toLocaleString('en')} cells in view.`;
  }

  function paintDensity(context) {
    context.imageSmoothingEnabled = false;
    const { side } = squares;
    context.drawImage(density, 0, 0, density.width * side, density.height * side);
    const per = mpp ? `${Math.round(most / (side * mpp / 1000) ** 2).toLocaleString('en')} per mm²` : `${most} cells`;
    byId('summary').textContent = `Density in squares of ${side} pixels; the darkest has ${per}.`;
  }

  /** How many cells of the chosen classes are where: the more, the darker. */
  function sum() {
    const counts = squares.counts[0].map((_, i) => squares.counts.reduce((all, each, k) => all + (boxes[k].checked ? each[i] : 0), 0));
    most = counts.reduce((a, b) => Math.max(a, b), 0);
    [density.width, density.height] = [squares.width, counts.length / squares.width];
    const pixels = new ImageData(density.width, density.height);
    counts.forEach((count, i) => pixels.data.set([60, 0, 110, count ? 40 + 190 * count / most : 0], 4 * i));
    density.getContext('2d').putImageData(pixels, 0, 0);
    view.draw();
  }

  function point(x, y) {
    const under = visible.find(({ box: [left, top, w, h], path }) => (
      x >= left && y >= top && x <= left + w && y <= top + h
      && hitTest.isPointInPath(path, x * HALF_PIXELS, y * HALF_PIXELS, 'evenodd'))) ?? null;
    if (under === chosen) return;
    chosen = under;
    const { id, label, score, box } = under ?? {};
    byId('info').textContent = under
      ? `Cell ${id}: ${classes[label].name}, score ${score.toFixed(3)}, at ${box[0] + box[2] / 2}, ${box[1] + box[3] / 2}` : '';
    view.draw();
  }

  for (const box of boxes) box.addEventListener('change', sum);
  byId('picture').addEventListener('change', view.draw);
  picture.onload = view.draw;
  picture.src = source;
  view.size = size;
  sum();
  view.fit();
})();
