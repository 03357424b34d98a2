'use strict';
/**
 * A canvas on which wheel, pointer, keys and the buttons `zoom-in`, `zoom-out` and `fit` move an image about.
 * paint(context) draws, in pixels of the image; point(x, y) is told at which of them the pointer is; keys: further ones.
 */
function openView(canvas, paint, point, keys) {
  const context = canvas.getContext('2d');
  const view = {
    scale: 1, x: 0, y: 0,  // screen pixels an image pixel; the image pixel at the canvas' corner
    size: { width: 1, height: 1 },  // of the image
    moving: false,
    draw, centre, fit, fitScale, isInView,
  };
  let fitted = true;

  let requested = false;
  function draw() {
    if (requested) return;
    requested = true;
    requestAnimationFrame(() => {
      requested = false;
      const ratio = window.devicePixelRatio || 1;
      const { scale, x, y } = view;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.setTransform(ratio * scale, 0, 0, ratio * scale, -x * scale * ratio, -y * scale * ratio);
      context.imageSmoothingEnabled = scale < 4;
      paint(context);
    });
  }

  function isInView({ box: [x, y, w, h] }) {
    return x + w >= view.x && x <= view.x + canvas.clientWidth / view.scale
      && y + h >= view.y && y <= view.y + canvas.clientHeight / view.scale;
  }

  function fitScale() {
    return Math.min(canvas.clientWidth / view.size.width, canvas.clientHeight / view.size.height);
  }

  function centre(x, y, scale) {
    view.scale = scale;
    view.x = x - canvas.clientWidth / scale / 2;
    view.y = y - canvas.clientHeight / scale / 2;
    fitted = false;
    draw();
  }

  function fit() {
    centre(view.size.width / 2, view.size.height / 2, fitScale());
    fitted = true;
  }

  /** Zoom so that the image pixel under a point of the canvas stays there. */
  function zoom(factor, left = canvas.clientWidth / 2, top = canvas.clientHeight / 2) {
    const scale = Math.min(40, Math.max(fitScale() / 2, view.scale * factor));
    view.x += left / view.scale - left / scale;
    view.y += top / view.scale - top / scale;
    view.scale = scale;
    move();
  }

  function pan(dx, dy) {
    view.x += dx / view.scale;
    view.y += dy / view.scale;
    move();
  }

  // While the view moves, what takes long to draw may be left out.
  let rest = 0;
  function move() {
    fitted = false;
    view.moving = true;
    clearTimeout(rest);
    rest = setTimeout(() => { view.moving = false; draw(); }, 150);
    draw();
  }

  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    // Wheels that count lines or pages count about 30 pixels a line.
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 30 : 1) * 0.0015), event.offsetX, event.offsetY);
  }, { passive: false });

  let last = null;
  canvas.addEventListener('pointerdown', (event) => {
    last = event;
    canvas.setPointerCapture(event.pointerId);
    canvas.classList.add('dragging');
  });
  canvas.addEventListener('pointermove', (event) => {
    if (last) {
      pan(last.clientX - event.clientX, last.clientY - event.clientY);
      last = event;
    } else {
      point(event.offsetX / view.scale + view.x, event.offsetY / view.scale + view.y);
    }
  });
  for (const type of ['pointerup', 'pointercancel']) {
    canvas.addEventListener(type, () => { last = null; canvas.classList.remove('dragging'); });
  }

  const actions = {
    ArrowLeft: () => pan(-60, 0), ArrowRight: () => pan(60, 0), ArrowUp: () => pan(0, -60), ArrowDown: () => pan(0, 60),
    '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8), 0: fit, ...keys,
  };
  canvas.addEventListener('keydown', (event) => {
    const action = !event.ctrlKey && !event.metaKey && !event.altKey && actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.getElementById('zoom-in').addEventListener('click', () => zoom(1.5));
  document.getElementById('zoom-out').addEventListener('click', () => zoom(1 / 1.5));
  document.getElementById('fit').addEventListener('click', fit);

  new ResizeObserver(() => {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    if (fitted) fit();
    draw();
  }).observe(canvas);
  return view;
}
