'use strict';
// The viewer of a slide. From afar it shows how many cells there are; from nearby their outlines, loaded square by square.
// Below lies the slide, in tiles of the level that the screen needs, and of coarser ones until these have come.
(() => {
  const { classes, mpp, size, squares, chunks, tiles } = JSON.parse(document.getElementById('config').textContent);
  const byId = (id) => document.getElementById(id);
  const HALF_PIXELS = 2;  // of one pixel, the unit of the outlines
  const MOST_IN_VIEW = 24, MOST_KEPT = 96;  // files
  const REACH = 64;  // pixels by which cells reach beyond the square that their centres lie in

  const canvas = byId('canvas');
  const hitTest = document.createElement('canvas').getContext('2d');
  const names = new Set(chunks.names);
  const loaded = new Map(), pictures = new Map();  // cells by the name of their square, tiles by their address
  const boxes = [...document.querySelectorAll('input.class')];
  const density = document.createElement('canvas');
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

  /** Column and row of each square of this side that is in view, or within `reach` of it. */
  function squaresInView(side, reach) {
    const first = [view.x, view.y].map((at) => Math.floor(Math.max(at - reach, 0) / side));
    const last = [Math.min(view.x + canvas.clientWidth / view.scale + reach, size.width),
      Math.min(view.y + canvas.clientHeight / view.scale + reach, size.height)].map((at) => Math.ceil(at / side));
    const found = [];
    for (let row = first[1]; row < last[1]; row += 1) {
      for (let column = first[0]; column < last[0]; column += 1) found.push([column, row]);
    }
    return found;
  }

  /** What a map holds under a key, made where it is missing; what was asked for longest ago is forgotten. */
  function recall(map, key, make) {
    const value = map.get(key) ?? make();
    map.delete(key);
    map.set(key, value);
    if (map.size > MOST_KEPT) map.delete(map.keys().next().value);
    return value;
  }

  function load(element, name) {
    element.onload = () => { element.remove(); view.draw(); };
    element.onerror = () => { byId('summary').textContent = `${name} is missing: keep cells_files beside the page.`; };
    element.src = `cells_files/${name}`;
    return element;
  }

  function cellsOf(name) {
    return recall(loaded, name, () => {
      document.head.append(load(document.createElement('script'), `${name}.js`));
      return [];
    });
  }

  // ---- drawing ----------------------------------------------------------------------------------------------------

  function paint(context) {
    if (tiles && byId('picture').checked) paintPicture(context);
    const squares = squaresInView(chunks.side, REACH);
    const near = squares.length <= MOST_IN_VIEW;
    visible = near ? squares.map((square) => square.join('_')).filter((name) => names.has(name)).flatMap(cellsOf)
      .filter((cell) => boxes[cell.label].checked && view.isInView(cell)) : [];
    canvas.dataset.drawn = visible.length;
    canvas.dataset.loaded = loaded.size;
    if (near) paintCells(context);
    else paintDensity(context);
  }

  function paintPicture(context) {
    const pixel = 1 / (view.scale * (window.devicePixelRatio || 1));  // of the screen, in pixels of the slide
    const finest = Math.min(tiles.levels - 1, Math.max(0, Math.floor(Math.log2(pixel / tiles.factor))));
    for (let level = tiles.levels - 1; level >= finest; level -= 1) {
      const scale = tiles.factor * 2 ** level;
      for (const [column, row] of squaresInView(tiles.side * scale, 0)) {
        const name = `${level}_${column}_${row}.jpg`;
        if (level > finest && level < tiles.levels - 1 && !pictures.has(name)) continue;
        const tile = recall(pictures, name, () => load(new Image(), name));
        const { naturalWidth: width, naturalHeight: height } = tile;
        if (width) context.drawImage(tile, column * tiles.side * scale, row * tiles.side * scale, width * scale, height * scale);
      }
    }
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
  byId('picture')?.addEventListener('change', view.draw);
  view.size = size;
  sum();
  view.fit();
})();
