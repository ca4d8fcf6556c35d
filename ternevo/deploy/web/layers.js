// Draws what goes on in a policy of many kinds of layers: feature maps, memories, units, logits.
globalThis.ternevoLayers = (tools) => {
  "use strict";
  const { surface, element, colours, box, signed } = tools;

  const LABEL = 22, SPACE = 16; // above a layer, and below it
  const MAX_MAPS = 64, MAX_UNITS = 512, MAX_FILTER = 5, MAX_FILTER_CHANNELS = 10;
  const STEPS = 48; // of a memory that are kept to look at
  const GAP = 8, MIN_MAP = 14; // pixels between maps, and the least width of one
  const HEIGHT = 480; // of all layers together, where they fit; maps of one get 90 to 300 of it

  const by = (sizes) => sizes.join("×");
  const windowOf = ({ height, width, stride }) =>
    `${height}×${width}${stride > 1 ? `, every ${stride}` : ""}`;
  const nameOf = {
    dense: ({ outputs }) => `${outputs} units`,
    convolution: ({ outputs, window }) => `${outputs} filters of ${windowOf(window)}`,
    max_pool: ({ window }) => `the largest of ${windowOf(window)}`,
    elman: ({ outputs }) => `memory of ${outputs} numbers`,
    gated: ({ outputs }) => `gated memory of ${outputs} numbers`,
  };

  function caption(layer, shown, all) {
    const before = layer.skip === 2 ? "the layer before" : `${layer.skip - 1} layers before`;
    const added = !layer.skip ? "" : `, plus ${layer.skip === 1 ? "its input" : `the input of ${before}`}`;
    const rest = shown < all ? `, the first ${shown} shown` : "";
    return nameOf[layer.type](layer) + added + rest;
  }

  // Colours of -1 to +1 in 255 steps: of a number that is 0, of one at either end, and between.
  function paletteOf() {
    const parse = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const [zero, plus, minus] = [colours.zero, colours.plus, colours.minus].map(parse);
    const mixed = (i) => {
      const part = Math.abs(i) / 127, end = i < 0 ? minus : plus;
      const share = part === 0 ? 0 : 0.12 + 0.88 * part;
      return zero.map((from, c) => Math.round(from + share * (end[c] - from)));
    };
    return Array.from({ length: 255 }, (_, i) => mixed(i - 127));
  }

  // A picture of one pixel for each number; `put(x, y, share)` sets one, in [-1, 1].
  function picture(width, height, palette) {
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, width);
    canvas.height = Math.max(1, height);
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(canvas.width, canvas.height);
    return {
      canvas,
      put(x, y, share) {
        const at = 4 * (y * canvas.width + x), colour = palette[Math.round(127 * share) + 127];
        pixels.data[at] = colour[0];
        pixels.data[at + 1] = colour[1];
        pixels.data[at + 2] = colour[2];
        pixels.data[at + 3] = 255;
      },
      clear: () => pixels.data.fill(0),
      show: () => context.putImageData(pixels, 0, 0),
    };
  }

  // How to lay out `count` maps in a width and, unless they get too small, a height: as large as
  // they can be, in full rows rather than not, with `under` pixels below each.
  function fit(count, [high, wide], width, height, under) {
    let best = { score: 0 };
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns);
      const across = (width - (columns - 1) * GAP) / columns / wide;
      const down = (height - rows * (under + GAP)) / rows / high;
      const cell = Math.min(Math.max(Math.min(across, down), MIN_MAP / wide), across, 14);
      const score = cell * (count % columns ? 0.8 : 1);
      if (score >= best.score) best = { score, columns, rows, size: [wide * cell, high * cell] };
    }
    const [w] = best.size, between = (width - best.columns * w) / Math.max(best.columns - 1, 1);
    return { ...best, step: w + Math.min(between, 2 * GAP) };
  }

  // ------------------------------------------------------------------------------------ layers

  // Each layer is a stage: words, `height`, and `draw(context, top, action)`.

  // What each filter finds; below it, where there is room, the filter itself.
  function mapsStage(net, k, { width, ratio, palette, room }) {
    const layer = net.layers[k], [high, wide, channels] = layer.after;
    const count = Math.min(channels, MAX_MAPS), values = net.values[k + 1];
    const hasFilters = k === 0 && isSmall(layer), under = hasFilters ? 5 * layer.window.height + 16 : 0;
    const { columns, rows, step, size: [w, h] } = fit(count, layer.after, width, room, under);
    const filters = hasFilters ? filtersOf(layer, count, w, ratio, palette) : null;
    const down = h + (filters ? filters.height : 0) + GAP;
    const maps = picture(wide, high * count, palette);
    return {
      caption: caption(layer, count, channels),
      shape: by(layer.after),
      height: rows * down - GAP,
      draw(c, top) {
        for (let i = 0; i < high * wide; i++) {
          const x = i % wide, y = Math.floor(i / wide);
          for (let o = 0; o < count; o++) {
            maps.put(x, o * high + y, values[i * channels + o] / layer.limit);
          }
        }
        maps.show();
        for (let o = 0; o < count; o++) {
          const x = (o % columns) * step, y = top + Math.floor(o / columns) * down;
          c.drawImage(maps.canvas, 0, o * high, wide, high, x, y, w, h);
          if (filters) filters.draw(c, o, x, y + h);
        }
      },
    };
  }

  function isSmall({ weights, window, shape }) {
    return weights.length > 0 && shape[2] <= MAX_FILTER_CHANNELS
      && window.width <= MAX_FILTER && window.height <= MAX_FILTER;
  }

  // Filters as wide as their maps: a square for each channel, underlined in the channel's colour.
  function filtersOf({ window, weights, fanIn, shape }, count, width, ratio, palette) {
    const channels = shape[2], across = channels * window.width;
    const dots = (width * ratio) / (across + (channels - 1) / 2);
    const dot = Math.min(Math.max(1, Math.floor(dots)), Math.round(7 * ratio)) / ratio;
    const gap = channels > 1 ? (width - across * dot) / (channels - 1) : 0;
    const pictures = Array.from({ length: count * channels }, (_, n) => {
      const made = picture(window.width, window.height, palette);
      for (let place = 0; place < fanIn / channels; place++) {
        const at = Math.floor(n / channels) * fanIn + place * channels + (n % channels);
        made.put(place % window.width, Math.floor(place / window.width), weights[at]);
      }
      made.show();
      return made.canvas;
    });
    const [w, h] = [window.width * dot, window.height * dot];
    return {
      height: 5 + h + 5,
      draw(c, o, left, top) {
        for (let channel = 0; channel < channels; channel++) {
          const x = left + channel * (w + gap);
          c.drawImage(pictures[o * channels + channel], x, top + 5, w, h);
          c.fillStyle = colours.channels[channel % colours.channels.length];
          c.fillRect(x, top + 5 + h + 1.5, w, 2);
        }
      },
    };
  }

  // Numbers in rows of cells, all of the same size.
  function cells(count, width) {
    let rows = 1;
    while (rows < 8 && width / Math.ceil(count / rows) < 7) rows++;
    const columns = Math.ceil(count / rows), size = Math.min(width / columns, 24);
    return {
      size, rows, columns, width: columns * size, height: rows * size,
      draw(c, top, shareOf, palette) {
        const space = size >= 6 ? 1 : 0, radius = size >= 10 ? 2.5 : 0;
        for (let i = 0; i < count; i++) {
          const [r, g, b] = palette[Math.round(127 * shareOf(i)) + 127];
          const x = (i % columns) * size, y = top + Math.floor(i / columns) * size;
          box(c, x, y, size - space, size - space, radius, `rgb(${r} ${g} ${b})`);
        }
      },
    };
  }

  function unitsStage(net, k, { width, palette }) {
    const layer = net.layers[k], values = net.values[k + 1];
    const count = Math.min(layer.outputs, MAX_UNITS), drawn = cells(count, width);
    return {
      caption: caption(layer, count, layer.outputs),
      shape: { sign: "−1 or +1", ternary: "−1, 0 or +1", int8: "8 bits", int4: "4 bits" }[layer.activation],
      height: drawn.height,
      draw: (c, top) => drawn.draw(c, top, (i) => values[i] / layer.limit, palette),
    };
  }

  // The memory as a row of cells, how far its gates are open, and the steps before, each a line.
  function memoryStage(net, k, { width, palette, past }) {
    const layer = net.layers[k], values = net.values[k + 1];
    const count = Math.min(layer.outputs, MAX_UNITS), drawn = cells(count, width);
    const line = 3, isGated = layer.type === "gated", bar = 6;
    const trail = picture(count, STEPS, palette);
    const gates = isGated ? drawn.rows * bar + 5 : 0;
    return {
      caption: caption(layer, count, layer.outputs),
      shape: `below: the last ${STEPS} steps`,
      height: drawn.height + gates + 6 + STEPS * line,
      draw(c, top) {
        drawn.draw(c, top, (i) => values[i] / layer.limit, palette);
        let y = top + drawn.height + 3;
        if (isGated) {
          for (let i = 0; i < count; i++) {
            const open = net.opening(k, i), x = (i % drawn.columns) * drawn.size;
            const row = y + Math.floor(i / drawn.columns) * bar;
            box(c, x, row, drawn.size - 1, bar - 2, 0, colours.zero);
            box(c, x, row, (drawn.size - 1) * open, bar - 2, 0, colours.soft);
          }
          y += gates;
        }
        trail.clear();
        past.forEach((values, step) => {
          for (let i = 0; i < count; i++) trail.put(i, step, values[k + 1][i] / layer.limit);
        });
        trail.show();
        c.drawImage(trail.canvas, 0, y + 3, drawn.width - 1, STEPS * line);
      },
    };
  }

  // Logits as bars about a line that is 0.
  function logitsStage(net, k, { width, world }) {
    const count = net.layers[k].outputs, size = Math.max(3, Math.min(22, 180 / count));
    const hasWords = size >= 12, left = hasWords ? Math.min(130, width * 0.28) : 0;
    const right = hasWords ? 74 : 0, half = (width - left - right) / 2;
    const isDiscrete = net.policy.outputKind === "discrete";
    let largest = 1;
    return {
      caption: isDiscrete ? "the largest acts" : "actions",
      shape: "logits",
      height: count * size,
      draw(c, top, action) {
        const logits = net.sums[k];
        largest = Math.max(0.995 * largest, ...Array.from(logits, Math.abs), 1);
        c.fillStyle = colours.line;
        c.fillRect(left + half - 0.5, top, 1, count * size);
        for (let o = 0; o < count; o++) {
          const y = top + o * size, length = (logits[o] / largest) * half;
          const isChosen = !isDiscrete || o === action;
          c.globalAlpha = isChosen ? 1 : 0.45;
          box(c, left + half + Math.min(length, 0), y + 2, Math.abs(length), size - 4,
            size > 9 ? 3 : 0, length < 0 ? colours.minus : colours.plus);
          c.globalAlpha = 1;
          if (!hasWords) continue;
          const style = isChosen ? { colour: colours.accent, weight: 650 } : {};
          text(c, world.actionNames[o] || `${o}`, 0, y + size / 2, { room: left - 8, ...style });
          text(c, signed(logits[o]), width, y + size / 2, { align: "right", ...style });
        }
      },
    };
  }

  function text(c, words, x, y, { align = "left", colour = colours.soft, weight = 400, room } = {}) {
    c.font = `${weight} 12px system-ui, sans-serif`;
    c.textAlign = align;
    c.textBaseline = "middle";
    c.fillStyle = colour;
    c.fillText(words, x, y, room);
  }

  // ---------------------------------------------------------------------------------- the view

  function stagesOf(net, world, past, { width, ratio }) {
    const palette = paletteOf(), last = net.layers.length - 1;
    const given = { width, ratio, palette, world, past };
    const flat = net.layers.map((layer, k) => {
      if (layer.window) return null;
      const make = k === last ? logitsStage : layer.isCell ? memoryStage : unitsStage;
      return make(net, k, given);
    });
    const taken = flat.reduce((sum, stage) => sum + (stage ? stage.height : 0) + LABEL + SPACE, 0);
    const share = (HEIGHT - taken) / flat.filter((stage) => !stage).length;
    const room = Math.min(Math.max(share, 90), 300);
    return flat.map((stage, k) => stage || mapsStage(net, k, { ...given, room }));
  }

  function layersView(net, world) {
    const canvas = element("network"), past = []; // memories of the last steps, the newest first
    let stages = [], space = SPACE, isStale = true; // numbers change with a step, and not between
    const view = surface(canvas, (made) => {
      stages = stagesOf(net, world, past, made);
      isStale = true;
      const least = stages.reduce((sum, stage) => sum + LABEL + stage.height + SPACE, 0);
      space = SPACE + Math.min(14, Math.max(0, HEIGHT - least) / stages.length);
      const height = least + stages.length * (space - SPACE);
      // Not now: a size that changes while sizes are observed is a warning in the console.
      requestAnimationFrame(() => (canvas.style.height = `${Math.ceil(height)}px`));
    });

    return {
      remember() {
        past.unshift(net.values.map((values, k) =>
          k > 0 && net.layers[k - 1].isCell ? Int8Array.from(values) : null));
        past.length = Math.min(past.length, STEPS);
        isStale = true;
      },
      forget() {
        past.length = 0;
        isStale = true;
      },
      refit: () => view.fit(),
      draw(_, action) {
        if (!isStale) return;
        isStale = false;
        const { context: c, width } = view;
        let top = 0;
        c.clearRect(0, 0, width, view.height);
        c.imageSmoothingEnabled = false;
        for (const stage of stages) {
          text(c, stage.caption, 0, top + 8, { room: width * 0.7 });
          text(c, stage.shape, width, top + 8, { align: "right" });
          stage.draw(c, top + LABEL, action);
          top += LABEL + stage.height + space;
        }
      },
    };
  }

  return { layersView, picture };
};
