// Changes of an image whose l2 length is as close to a radius as whole grey levels allow, never above.

const LEVELS = 255;

/**
 * @typedef {{data: Uint8ClampedArray, width: number, height: number}} Pixels RGBA, opaque
 * @typedef {{pixels: Pixels, l2: number, base?: number, share?: number, levels?: number, side?: number}} Tampered
 */

/** The most that squared differences of channels may add up to, in squared grey levels. @param {number} radius */
function budget(radius) {
  return (LEVELS * radius) ** 2 * (1 - 1e-12);
}

/** The l2 distance of two images in pixels scaled to [0, 1]. @param {Pixels} a @param {Pixels} b */
export function distance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) if (i % 4 !== 3) sum += (a.data[i] - b.data[i]) ** 2;
  return Math.sqrt(sum) / LEVELS;
}

/**
 * The whole image brighter by `base` grey levels, and by one more on a share of its pixels, evenly
 * strewn. Where white leaves no room it is darker instead, so that the length is the same.
 * @param {Pixels} image @param {number} radius @returns {Tampered}
 */
export function shiftAll(image, radius) {
  const n = image.width * image.height;
  const allowed = budget(radius);
  const base = Math.min(127, Math.floor(Math.sqrt(allowed / (3 * n))));
  const left = allowed - 3 * n * base ** 2;
  const more = Math.max(0, Math.min(n, Math.floor(left / (3 * (2 * base + 1)))));
  const stride = coprimeStride(n);
  const data = image.data.slice();
  for (let i = 0; i < n; i++) {
    const pixel = (i * stride) % n;
    move(data, pixel, base + (i < more ? 1 : 0));
  }
  return finish(image, data, { base, share: more / n });
}

/** A step that visits all of n places and spreads any number of first visits. @param {number} n */
function coprimeStride(n) {
  let step = Math.max(1, Math.round(n * 0.6180339887));
  while (gcd(step, n) !== 1) step += 1;
  return step;
}

/** @param {number} a @param {number} b @returns {number} */
function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}

/** @param {Uint8ClampedArray} data @param {number} pixel @param {number} levels */
function move(data, pixel, levels) {
  for (let channel = 0; channel < 3; channel++) {
    const value = data[4 * pixel + channel];
    data[4 * pixel + channel] = value + levels > LEVELS ? value - levels : value + levels;
  }
}

/**
 * A square at the centre, `side` pixels wide, moved as far as the radius allows: dark pixels
 * brighter, bright ones darker.
 * @param {Pixels} image @param {number} radius @param {number} side @returns {Tampered}
 */
export function patch(image, radius, side) {
  const levels = Math.min(LEVELS, Math.floor(Math.sqrt(budget(radius) / (3 * side ** 2))));
  const left = Math.floor((image.width - side) / 2);
  const top = Math.floor((image.height - side) / 2);
  const data = image.data.slice();
  for (let y = top; y < top + side; y++)
    for (let x = left; x < left + side; x++)
      for (let channel = 0; channel < 3; channel++) {
        const place = 4 * (y * image.width + x) + channel;
        const value = data[place];
        data[place] = value < 128 ? Math.min(LEVELS, value + levels) : Math.max(0, value - levels);
      }
  return finish(image, data, { levels, side });
}

/** The side at which a patch is moved by about 48 grey levels: strong to the eye, and not a dot.
 * @param {number} radius @param {number} width */
export function strongSide(radius, width) {
  const side = Math.round(Math.sqrt(budget(radius) / 3) / 48);
  return Math.max(1, Math.min(side, Math.floor(width / 2)));
}

/** The widest patch that still moves by one grey level. @param {number} radius @param {number} width */
export function widestSide(radius, width) {
  return Math.max(1, Math.min(Math.floor(Math.sqrt(budget(radius) / 3)), width));
}

/** @param {Pixels} image @param {Uint8ClampedArray} data @param {object} facts @returns {Tampered} */
function finish(image, data, facts) {
  const pixels = { data, width: image.width, height: image.height };
  return { pixels, l2: distance(image, pixels), ...facts };
}
