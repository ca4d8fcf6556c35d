// The page: the task and the network, drawn live. Text from the file is set as text, never as HTML.
(() => {
  "use strict";
  const { decode, evaluator } = globalThis.ternevo;
  const element = (id) => document.getElementById(id);
  const create = (tag, text, className) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const clip = (value, low, high) => Math.min(Math.max(value, low), high);
  const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const count = (n) => Math.round(n).toLocaleString("en-US");

  // Colours are those of the style sheet, which knows about light and dark.
  const colours = {};
  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["card", "ink", "soft", "line", "plus", "minus", "zero", "accent", "screen", "off"]) {
      colours[name] = style.getPropertyValue("--" + name).trim();
    }
    colours.channels = Array.from({ length: 10 }, (_, k) =>
      style.getPropertyValue(`--channel-${k}`).trim());
  }

  const colourOfChannel = (k) => colours.channels[k % colours.channels.length];

  const colourOf = (value) => (value > 0 ? colours.plus : value < 0 ? colours.minus : colours.zero);

  const signed = (value) => String(value).replace("-", "−");
  const short = (value) => {
    const text = Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 2 : 0);
    return signed(Number(text) === 0 ? text.replace("-", "") : text);
  };

  // A canvas in CSS pixels, sharp on every screen; `onResize` hears of a new size or new colours.
  function surface(canvas, onResize = () => {}) {
    const context = canvas.getContext("2d");
    const made = { context, width: 0, height: 0, ratio: 1 };
    made.fit = () => {
      made.ratio = window.devicePixelRatio || 1;
      made.width = canvas.clientWidth;
      made.height = canvas.clientHeight;
      canvas.width = Math.max(1, Math.round(made.width * made.ratio));
      canvas.height = Math.max(1, Math.round(made.height * made.ratio));
      context.setTransform(made.ratio, 0, 0, made.ratio, 0, 0);
      onResize(made);
    };
    made.fit();
    new ResizeObserver(made.fit).observe(canvas);
    return made;
  }

  // -------------------------------------------------------------------------------- the scenes

  function line(c, points, width, colour) {
    c.beginPath();
    points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
    c.lineWidth = width;
    c.strokeStyle = colour;
    c.lineCap = c.lineJoin = "round";
    c.stroke();
  }

  function disc(c, x, y, radius, colour) {
    c.beginPath();
    c.arc(x, y, radius, 0, 2 * Math.PI);
    c.fillStyle = colour;
    c.fill();
  }

  function box(c, x, y, width, height, radius, colour) {
    c.beginPath();
    if (c.roundRect && radius > 0) c.roundRect(x, y, width, height, radius);
    else c.rect(x, y, width, height);
    c.fillStyle = colour;
    c.fill();
  }

  function arrow(c, x, y, dx, width, colour) {
    if (Math.abs(dx) < 2) return;
    const head = Math.min(3 * width, Math.abs(dx)) * Math.sign(dx);
    line(c, [[x, y], [x + dx, y]], width, colour);
    line(c, [[x + dx - head, y - Math.abs(head)], [x + dx, y], [x + dx - head, y + Math.abs(head)]],
      width, colour);
  }

  // What a visitor's push looks like, fading out.
  function gust(c, x, y, size, push) {
    if (!push.strength) return;
    c.globalAlpha = push.strength;
    const from = x - push.direction * size * (1.5 - push.strength);
    for (const offset of [-0.28, 0, 0.28]) {
      arrow(c, from, y + offset * size, push.direction * size * 0.8, 3, colours.minus);
    }
    c.globalAlpha = 1;
  }

  function drawCartPole(c, w, h, s, action, push, task) {
    const unit = Math.min(w / 6, h / 3.2), floor = h * 0.78, x = w / 2 + s.x * unit;
    line(c, [[0, floor], [w, floor]], 2, colours.line);
    for (const end of [-task.maxX, task.maxX]) {
      const at = w / 2 + end * unit;
      line(c, [[at, floor - 12], [at, floor + 12]], 3, colours.soft);
    }
    const length = 1.75 * unit, cartW = unit * 0.9, cartH = unit * 0.42, top = floor - cartH - 7;
    c.beginPath();
    c.moveTo(x, top);
    c.arc(x, top, length * 1.04, -Math.PI / 2 - task.maxAngle, -Math.PI / 2 + task.maxAngle);
    c.closePath();
    c.globalAlpha = 0.55;
    c.fillStyle = colours.zero;
    c.fill();
    c.globalAlpha = 1;
    const tip = [x + length * Math.sin(s.angle), top - length * Math.cos(s.angle)];
    box(c, x - cartW / 2, top, cartW, cartH, 8, colours.ink);
    for (const side of [-0.27, 0.27]) {
      disc(c, x + side * cartW, floor - 7, 7, colours.ink);
      disc(c, x + side * cartW, floor - 7, 3, colours.card);
    }
    line(c, [[x, top], tip], Math.max(8, unit * 0.12), colours.minus);
    disc(c, x, top, 6, colours.card);
    const side = action === 1 ? 1 : -1;
    arrow(c, x + side * (cartW / 2 + 8), top + cartH / 2, side * unit * 0.38, 4, colours.accent);
    gust(c, ...tip, unit * 0.75, push);
  }

  function drawAcrobot(c, w, h, s, action, push) {
    const unit = Math.min(w, h) / 4.7, x = w / 2, y = h * 0.52;
    c.setLineDash([7, 7]);
    line(c, [[w * 0.08, y - unit], [w * 0.92, y - unit]], 2, colours.soft);
    c.setLineDash([]);
    const elbow = [x + unit * Math.sin(s.upper), y + unit * Math.cos(s.upper)];
    const both = s.upper + s.lower;
    const tip = [elbow[0] + unit * Math.sin(both), elbow[1] + unit * Math.cos(both)];
    line(c, [[x, y], elbow], unit * 0.16, colours.ink);
    line(c, [elbow, tip], unit * 0.16, colours.minus);
    disc(c, x, y, unit * 0.1, colours.card);
    disc(c, x, y, unit * 0.05, colours.ink);
    disc(c, ...elbow, unit * 0.06, colours.card);
    if (action !== 1) turning(c, ...elbow, unit * 0.28, both, action - 1);
    gust(c, ...elbow, unit * 0.6, push);
  }

  // A torque: an arc about a joint that ends in an arrow's head.
  function turning(c, x, y, radius, angle, torque) {
    const start = Math.PI / 2 - angle, sweep = -clip(torque, -1, 1) * 2;
    c.beginPath();
    c.arc(x, y, radius, start, start + sweep, sweep < 0);
    c.lineWidth = 4;
    c.strokeStyle = colours.accent;
    c.stroke();
    disc(c, x + radius * Math.cos(start + sweep), y + radius * Math.sin(start + sweep), 6,
      colours.accent);
  }

  function drawCar(c, w, h, s, action, push, task) {
    const border = Math.min(70, w * 0.11), unit = (w - 2 * border) / 1.8;
    const across = (x) => (x + 1.2) * unit + border;
    const up = (x) => h * 0.86 - (Math.sin(3 * x) + 1) * h * 0.3;
    const hill = Array.from({ length: 101 }, (_, i) => ((i / 100) * w - border) / unit - 1.2)
      .map((x) => [across(x), up(x)]);
    c.beginPath();
    [[0, h], ...hill, [w, h]].forEach((p) => c.lineTo(...p));
    c.fillStyle = colours.zero;
    c.fill();
    line(c, hill, 3, colours.soft);
    const goal = [across(task.goal), up(task.goal)];
    line(c, [goal, [goal[0], goal[1] - 46]], 3, colours.ink);
    c.beginPath();
    c.moveTo(goal[0], goal[1] - 46);
    c.lineTo(goal[0] + 24, goal[1] - 38);
    c.lineTo(goal[0], goal[1] - 30);
    c.fillStyle = colours.minus;
    c.fill();
    const slope = (up(s.x + 0.01) - up(s.x - 0.01)) / (across(s.x + 0.01) - across(s.x - 0.01));
    c.save();
    c.translate(across(s.x), up(s.x));
    c.rotate(Math.atan(slope));
    box(c, -24, -28, 48, 18, 6, colours.ink);
    box(c, -13, -40, 26, 16, 6, colours.ink);
    for (const side of [-14, 14]) {
      disc(c, side, -8, 8, colours.ink);
      disc(c, side, -8, 3.5, colours.card);
    }
    const force = task.outputKind === "discrete" ? action - 1 : clip(action[0], -1, 1);
    arrow(c, Math.sign(force) * 32, -20, force * 34, 4, colours.accent);
    gust(c, 0, -26, 60, push);
    c.restore();
  }

  function drawPendulum(c, w, h, s, action, push) {
    const unit = Math.min(w, h) * 0.4, x = w / 2, y = h / 2;
    const tip = [x + unit * Math.sin(s.angle), y - unit * Math.cos(s.angle)];
    c.setLineDash([3, 9]);
    c.beginPath();
    c.arc(x, y, unit, 0, 2 * Math.PI);
    c.lineWidth = 2;
    c.strokeStyle = colours.line;
    c.stroke();
    c.setLineDash([]);
    line(c, [[x, y], tip], unit * 0.13, colours.ink);
    disc(c, ...tip, unit * 0.15, colours.minus);
    disc(c, x, y, unit * 0.05, colours.card);
    turning(c, x, y, unit * 0.3, Math.PI - s.angle, -action[0] / 2);
    gust(c, ...tip, unit * 0.45, push);
  }

  const SCENES = {
    "CartPole-v1": drawCartPole,
    "Acrobot-v1": drawAcrobot,
    "MountainCar-v0": drawCar,
    "MountainCarContinuous-v0": drawCar,
    "Pendulum-v1": drawPendulum,
  };

  const { layersView, picture } = globalThis.ternevoLayers({ surface, element, colours, box, signed });

  // -------------------------------------------------------------------------------- the worlds

  // A world has `observe()`, `step(action)` and `draw(blend, action)`; `blend` is how far it is
  // from the state before to the present one, so that slow tasks move smoothly.
  function taskWorld(name, task) {
    const scene = surface(element("scene"));
    const push = { strength: 0, direction: 1 };
    let state = task.reset(Math.random), before = { ...state };

    function blended(blend) {
      const mixed = {};
      for (const key of Object.keys(state)) {
        let change = state[key] - before[key];
        if (task.angles.includes(key)) change -= 2 * Math.PI * Math.round(change / (2 * Math.PI));
        mixed[key] = before[key] + blend * change;
      }
      return mixed;
    }

    return {
      task,
      over: task.over,
      rate: task.rate,
      actionNames: task.actions,
      observationNames: task.observations,
      observe: () => task.observe(state),
      isDone: () => task.isDone(state),
      step(action) {
        before = { ...state };
        return task.step(state, action);
      },
      reset() {
        state = task.reset(Math.random);
        before = { ...state };
      },
      push(direction) {
        push.strength = 1;
        push.direction = direction;
        task.push(state, direction);
      },
      draw(blend, action) {
        const { context: c, width: w, height: h } = scene;
        c.clearRect(0, 0, w, h);
        SCENES[name](c, w, h, blended(blend), action, push, task);
        push.strength = Math.max(0, push.strength - 0.03);
      },
      // Which way a click at x pushes: away from the pointer.
      directionFrom: (x) => (x < scene.width / 2 + ((state.x || 0) * scene.width) / 6 ? 1 : -1),
    };
  }

  // Bits of rows that begin with a byte each, the highest first, as `numpy.packbits` has them.
  function bitOf(bytes, size) {
    const packed = Math.ceil(size / 8);
    return (row, i) => (bytes[row * packed + (i >> 3)] >> (7 - (i & 7))) & 1;
  }

  // What a policy sees at each step of a recorded episode. Observations are kept as the integers
  // that its quantiser makes, and come back as numbers from which it makes the same again.
  function recordedObservations(policy, replay) {
    const bytes = fromBase64(replay.observations), integers = new Int8Array(bytes.buffer);
    const values = new Float32Array(policy.inputs), { inputKind, inputs } = policy;
    const valueOf = {
      bits: bitOf(bytes, inputs),
      i8: (at, i) => integers[at * inputs + i],
      pixels: (at, i) => integers[at * inputs + i] + 128,
      f32: (at, i) => policy.mean[i] + integers[at * inputs + i] / 2 ** policy.exponent[i],
    }[replay.grid ? "bits" : inputKind];
    return (at) => {
      for (let i = 0; i < inputs; i++) values[i] = valueOf(at, i);
      return values;
    };
  }

  // A task that cannot be computed here: a recorded episode, over and over. The policy is
  // computed live, on what it saw then; what it does changes nothing.
  function replayWorld(policy, data) {
    const { replay } = data;
    const scene = surface(element("scene")), observations = recordedObservations(policy, replay);
    const rewards = new Float32Array(fromBase64(replay.rewards).buffer), last = rewards.length - 1;
    const drawing = replay.bodies ? bodiesDrawing(replay.bodies) : gridDrawing(replay.grid);
    if (replay.grid) showLegend(replay.grid[2], data.obsNames);
    let step = 0;
    const observe = () => observations(Math.min(step, last));
    return {
      task: null,
      over: "Once more!",
      rate: replay.rate,
      actionNames: replay.actions || data.actionNames || [],
      observationNames: namesOf(policy, data),
      observe,
      isDone: () => step > last,
      step: () => rewards[step++],
      reset() {
        step = 0;
      },
      push() {},
      draw(blend) {
        const { context: c, width: w, height: h } = scene;
        c.clearRect(0, 0, w, h);
        drawing(c, w, h, Math.max(0, step - 1 + blend), observe);
      },
      directionFrom: () => 1,
    };
  }

  // Capsules in a plane: two ends each, in whole parts of a unit; a frame every so many steps.
  function bodiesDrawing({ ends, radii, every, scale, low, high, follows }) {
    const all = new Int16Array(fromBase64(ends).buffer), size = 4 * radii.length;
    const frames = all.length / size;
    return (c, w, h, time) => {
      const at = Math.min(time / every, frames - 1), from = Math.floor(at), part = at - from;
      const to = Math.min(from + 1, frames - 1);
      const place = (i) =>
        (all[from * size + i] * (1 - part) + all[to * size + i] * part) / scale;
      const unit = Math.min((h * 0.86) / (high - low), w / 2.6);
      const centre = follows ? (place(0) + place(2)) / 2 : 0;
      const across = (x) => w / 2 + (x - centre) * unit, up = (z) => h * 0.92 - (z - low) * unit;
      if (follows) drawGround(c, w, h, centre, unit, up(0));
      radii.forEach((radius, k) => {
        const [x1, z1, x2, z2] = [0, 1, 2, 3].map((i) => place(4 * k + i));
        line(c, [[across(x1), up(z1)], [across(x2), up(z2) + 0.01]], 2 * radius * unit,
          k % 2 ? colours.minus : colours.ink);
      });
    };
  }

  function drawGround(c, w, h, centre, unit, y) {
    box(c, 0, y, w, h - y, 0, colours.zero);
    line(c, [[0, y], [w, y]], 2, colours.line);
    for (let x = Math.ceil(centre - w / unit / 2); x < centre + w / unit / 2; x++) {
      line(c, [[w / 2 + (x - centre) * unit, y], [w / 2 + (x - centre) * unit, y + 9]], 2, colours.soft);
    }
  }

  // Where a picture of so many rows and columns stands on a surface.
  function placed([rows, columns], w, h) {
    const unit = Math.min((w - 16) / columns, (h - 16) / rows);
    return { unit, left: (w - columns * unit) / 2, top: (h - rows * unit) / 2 };
  }

  // Observations that are a picture of bits, [rows, columns, channels]: a colour for each channel.
  function gridDrawing(shape) {
    const [rows, columns, channels] = shape;
    return (c, w, h, _, observe) => {
      const seen = observe(), { unit, left, top } = drawScreen(c, w, h, shape);
      const radius = Math.min(4, unit / 8), space = unit >= 6 ? 1 : 0;
      for (let i = 0; i < rows * columns; i++) {
        let colour = colours.off;
        for (let k = channels - 1; k >= 0; k--) {
          if (seen[i * channels + k]) colour = colourOfChannel(k);
        }
        box(c, left + (i % columns) * unit + space, top + Math.floor(i / columns) * unit + space,
          unit - 2 * space, unit - 2 * space, radius, colour);
      }
    };
  }

  function drawScreen(c, w, h, shape) {
    const place = placed(shape, w, h), [rows, columns] = shape;
    box(c, place.left - 7, place.top - 7, columns * place.unit + 14, rows * place.unit + 14, 9, colours.screen);
    return place;
  }

  // The last channel of a picture of numbers, from dark to light; `shareOf` is 0 to 1.
  function greyDrawing(shape, shareOf) {
    const [rows, columns, channels] = shape;
    const greys = Array.from({ length: 255 }, (_, i) => Array(3).fill(Math.round(24 + 0.85 * i)));
    const made = picture(columns, rows, greys);
    return (c, w, h) => {
      const { unit, left, top } = drawScreen(c, w, h, shape);
      for (let i = 0; i < rows * columns; i++) {
        const share = shareOf(i * channels + channels - 1);
        made.put(i % columns, Math.floor(i / columns), 2 * share - 1);
      }
      made.show();
      c.imageSmoothingEnabled = false;
      c.drawImage(made.canvas, left, top, columns * unit, rows * unit);
    };
  }

  // What the colours of channels are; with `onChoose` each is a button.
  function showLegend(channels, names, onChoose = null) {
    const chips = Array.from({ length: Math.min(channels, 32) }, (_, k) => {
      const word = names.length === channels ? names[k] : `channel ${k}`;
      const chip = create(onChoose ? "button" : "span", "", "chip"), colour = create("i", "");
      colour.style.background = `var(--channel-${k % colours.channels.length})`;
      chip.append(colour, word);
      if (onChoose) {
        chip.type = "button";
        chip.addEventListener("click", () => choose(k));
      }
      return chip;
    });
    function choose(k) {
      chips.forEach((chip, i) => chip.setAttribute("aria-pressed", String(i === k)));
      onChoose(k);
    }
    if (onChoose) choose(0);
    element("channels").append(...chips);
    element("channels").hidden = names.length !== channels && !onChoose;
  }

  const MAX_SLIDERS = 32;

  // A name for each input; where there are fewer names, they are of the channels of an image.
  function namesOf(policy, data) {
    const names = data.obsNames, channels = names.length;
    return Array.from({ length: policy.inputs }, (_, i) => {
      if (!channels) return `obs ${i}`;
      const place = channels < policy.inputs ? ` ${Math.floor(i / channels)}` : "";
      return names[i % channels] + place;
    });
  }

  // Any other policy: its observations wander through their range, or stand where a slider is.
  function sliderWorld(policy, data) {
    const names = namesOf(policy, data);
    const reach = (i) => (policy.inputKind === "f32" ? 127 / 2 ** policy.exponent[i] : 127);
    const inputs = Array.from({ length: policy.inputs }, (_, i) => {
      if (policy.inputKind === "bits") return { low: 0, high: 1, step: 1 };
      const centre = policy.inputKind === "f32" ? policy.mean[i] : 0;
      const step = policy.inputKind === "f32" ? "any" : 1;
      return { low: centre - reach(i), high: centre + reach(i), step };
    });
    const values = inputs.map(() => 0);
    let time = 0;

    function stir() {
      for (const input of inputs) {
        input.held = false;
        input.phase = 2 * Math.PI * Math.random();
        input.speed = 0.3 + Math.random();
      }
      wander();
    }

    function wander() {
      inputs.forEach((input, i) => {
        if (input.held) return;
        const place = 0.5 + 0.4 * Math.sin(input.phase + input.speed * time);
        const value = input.low + place * (input.high - input.low);
        values[i] = input.step === 1 ? Math.round(value) : value;
      });
    }

    function addSlider(input, i) {
      const label = create("label", ""), name = create("span", names[i]);
      name.title = names[i];
      input.slider = create("input", "");
      Object.assign(input.slider, { type: "range", min: input.low, max: input.high, step: input.step });
      input.output = create("output", "");
      input.slider.addEventListener("input", () => {
        input.held = true;
        values[i] = Number(input.slider.value);
      });
      label.append(name, input.slider, input.output);
      element("sliders").append(label);
    }

    stir();
    element("stage").hidden = true;
    element("sliders").hidden = false;
    element("sliders").classList.toggle("named", data.obsNames.length > 0);
    inputs.slice(0, MAX_SLIDERS).forEach(addSlider);
    if (inputs.length > MAX_SLIDERS) {
      element("sliders").append(create("p", `and ${inputs.length - MAX_SLIDERS} more`, "note"));
    }
    return {
      task: null,
      rate: 30,
      actionNames: data.actionNames,
      observationNames: names,
      observe: () => values,
      isDone: () => false,
      step() {
        time += 1 / 30;
        wander();
        return 0;
      },
      reset: stir,
      push: stir,
      draw() {
        inputs.slice(0, MAX_SLIDERS).forEach((input, i) => {
          input.slider.value = values[i];
          input.output.textContent = short(values[i]);
        });
      },
    };
  }

  // An image to draw on, which wanders to the right: for policies that see one.
  function drawnWorld(policy, data) {
    const [rows, columns, channels] = policy.image, scene = surface(element("scene"));
    const isBits = policy.inputKind === "bits", values = new Float32Array(policy.inputs);
    const mean = (i) => (policy.inputKind === "f32" ? policy.mean[i] : policy.inputKind === "pixels" ? 128 : 0);
    const reach = (i) => (policy.inputKind === "f32" ? 127 / 2 ** policy.exponent[i] : 127);
    const put = (i, share) => { // of 0 to 1
      values[i] = isBits ? share > 0.5 : mean(i) + (2 * share - 1) * reach(i);
    };
    const shareOf = (i) => (isBits ? values[i] : clip((values[i] - mean(i)) / reach(i) / 2 + 0.5, 0, 1));
    const drawing = isBits ? gridDrawing(policy.image) : greyDrawing(policy.image, shareOf);
    let channel = channels - 1;

    function stir() {
      for (let i = 0; i < values.length; i++) put(i, 0);
      const blots = clip(Math.round((rows * columns) / 12), 4, 14);
      for (let n = 0; n < blots; n++) {
        const any = (size) => Math.floor(Math.random() * size);
        paint(any(rows), any(columns), isBits ? any(channels) : channel, Math.max(1, rows / 12));
      }
    }

    // One place of a grid of bits, or a blot of a larger picture, in all channels.
    function paint(y, x, k, size) {
      for (let dy = 0; dy < size; dy++) {
        for (let dx = 0; dx < size; dx++) {
          const at = (Math.min(y + dy, rows - 1) * columns + ((x + dx) % columns)) * channels;
          if (isBits) put(at + k, 1 - values[at + k]);
          else for (let c = 0; c < channels; c++) put(at + c, 0.95);
          if (isBits) return;
        }
      }
    }

    function wander() {
      const row = columns * channels;
      for (let y = 0; y < rows; y++) {
        const line = values.subarray(y * row, (y + 1) * row), end = line.slice(row - channels);
        line.copyWithin(channels, 0);
        line.set(end);
      }
    }

    element("scene").addEventListener("pointerdown", (event) => {
      const { unit, left, top } = placed(policy.image, scene.width, scene.height);
      const x = Math.floor((event.offsetX - left) / unit), y = Math.floor((event.offsetY - top) / unit);
      if (x >= 0 && x < columns && y >= 0 && y < rows) paint(y, x, channel, Math.max(1, rows / 12));
    });
    if (isBits) showLegend(channels, data.obsNames, (k) => (channel = k));
    stir();
    return {
      task: null,
      rate: 5,
      actionNames: data.actionNames,
      observationNames: namesOf(policy, data),
      observe: () => values,
      isDone: () => false,
      step() {
        wander();
        return 0;
      },
      reset: stir,
      push() {},
      draw() {
        const { context: c, width: w, height: h } = scene;
        c.clearRect(0, 0, w, h);
        drawing(c, w, h, 0, () => values);
      },
      directionFrom: () => 1,
    };
  }

  // ------------------------------------------------------------------------------- the network

  const MAX_SHOWN = 256; // rows or columns of a layer that are drawn
  const GAP = 6, STRIP = 12;

  // Layers go down and to the right in turn, so that outputs of one stand beside the inputs of
  // the next: an even layer has an input in each row, an odd one in each column.
  function layOut(net, names, width, height) {
    const longest = Math.max(0, ...names.map((name) => name.length));
    const margin = clip(48 + 6.5 * longest, width < 450 ? 100 : 122, width * 0.4);
    const labelled = place(net, width, height, margin);
    const hasLabels = names.length > 0 && labelled.ch >= 9;
    return { ...(hasLabels ? labelled : place(net, width, height, 0)), hasLabels };
  }

  // Positions are sums of cells and pixels, until the size of a cell is known.
  function place(net, width, height, margin) {
    const shown = net.values.map((v) => Math.min(v.length, MAX_SHOWN));
    const last = net.layers.length - 1, numbers = 10 + 7 * digits(net.layers[last]);
    const x = { cells: 0, pixels: margin + STRIP + GAP }, y = { cells: 0, pixels: 4 };
    const extents = { x: [], y: [] };
    const blocks = net.layers.map((layer, k) => {
      const isDown = k % 2 === 0, inputs = shown[k], outputs = shown[k + 1];
      const block = { layer, k, isDown, inputs, outputs, x: { ...x }, y: { ...y } };
      const along = isDown ? y : x, across = isDown ? x : y;
      // Nothing stands across from the last outputs, so these can have a size of their own.
      block.own = k === last && outputs <= 40 ? (outputs <= 8 ? 28 : 10) : 0;
      extents[isDown ? "x" : "y"].push(block.own
        ? { cells: across.cells, pixels: across.pixels + outputs * block.own }
        : { cells: across.cells + outputs, pixels: across.pixels });
      along.cells += inputs;
      if (layer.bias) {
        block.bias = { cells: along.cells, pixels: along.pixels + GAP };
        along.cells += 1;
        along.pixels += GAP;
      }
      block.thickness = isDown ? 46 : width < 450 ? 30 : 44;
      block.sums = { cells: along.cells, pixels: along.pixels + GAP };
      along.pixels += GAP + block.thickness + GAP / 2;
      block.strip = { ...along };
      along.pixels += STRIP + GAP + (k === last ? (isDown ? 32 : numbers) : 0);
      extents[isDown ? "y" : "x"].push({ ...along });
      return block;
    });
    const fit = (list, room) =>
      Math.min(...list.filter((e) => e.cells).map((e) => (room - e.pixels) / e.cells));
    let cw = clip(fit(extents.x, width), 0.2, 32), ch = clip(fit(extents.y, height), 0.2, 32);
    cw = Math.min(cw, Math.max(1.8 * ch, 7));
    ch = Math.min(ch, Math.max(1.8 * cw, 22));
    const used = Math.max(...extents.y.map((e) => e.cells * ch + e.pixels));
    const shift = Math.max(0, (height - used) / 2);
    for (const block of blocks) {
      const along = block.isDown ? ch : cw, down = block.isDown ? shift : 0;
      const at = (p) => p.cells * along + p.pixels + down;
      block.left = block.x.cells * cw + block.x.pixels;
      block.top = block.y.cells * ch + block.y.pixels + shift;
      block.cw = block.isDown && block.own ? Math.max(block.own, cw) : cw;
      block.ch = !block.isDown && block.own ? Math.max(Math.min(block.own, 22), ch) : ch;
      if (block.bias) block.biasAt = at(block.bias);
      block.sumsAt = at(block.sums);
      block.stripAt = at(block.strip);
    }
    return { blocks, ch, margin, detailed: Math.min(cw, ch) >= 8 };
  }

  // How long the largest sum of a layer can be, with its sign.
  function digits(layer) {
    const largest = layer.inputs * layer.from + Math.max(...layer.bias.map(Math.abs));
    return String(Math.round(largest)).length + 1;
  }

  function networkView(net, world) {
    const frozen = document.createElement("canvas"); // weights stay: they are drawn once
    let layout = null;
    const largest = net.sums.map(() => 1);
    const view = surface(element("network"), (made) => {
      layout = layOut(net, world.observationNames, made.width, made.height);
      drawWeights(made);
    });

    // The rectangle of weight (output o, input i), or of the bias of o where i is null.
    function cell(block, o, i) {
      const { cw, ch } = block;
      if (block.isDown) {
        return [block.left + o * cw, i === null ? block.biasAt : block.top + i * ch, cw, ch];
      }
      return [i === null ? block.biasAt : block.left + i * cw, block.top + o * ch, cw, ch];
    }

    function square(c, [x, y, w, h], colour) {
      const space = Math.min(w, h) >= 4 ? 1 : 0;
      const radius = Math.min(w, h) >= 8 ? 2.5 : 0;
      if (space) box(c, x + space, y + space, w - 2 * space, h - 2 * space, radius, colour);
      else {
        c.fillStyle = colour;
        c.fillRect(x, y, w + 0.3, h + 0.3);
      }
    }

    function drawWeights({ width, height, ratio }) {
      frozen.width = Math.max(1, Math.round(width * ratio));
      frozen.height = Math.max(1, Math.round(height * ratio));
      const c = frozen.getContext("2d");
      c.setTransform(ratio, 0, 0, ratio, 0, 0);
      for (const block of layout.blocks) {
        const { weights, inputs } = net.policy.layers[block.k];
        const { bias } = net.policy.layers[block.k];
        for (let o = 0; o < block.outputs; o++) {
          for (let i = 0; i < block.inputs; i++) {
            square(c, cell(block, o, i), colourOf(weights[o * inputs + i]));
          }
          if (bias) square(c, cell(block, o, null), colourOf(bias[o]));
        }
      }
    }

    // How much of its full scale a value is, in [-1, 1].
    function share(k, i) {
      if (k > 0) return net.values[k][i] / (net.layers[k - 1].limit || 1);
      return net.policy.inputKind === "bits" ? net.quantised[i] : net.quantised[i] / 127;
    }

    // Inputs that are small now dim their row or column of weights.
    function dim(c, block) {
      c.fillStyle = colours.card;
      const { cw, ch } = block;
      for (let i = 0; i < block.inputs; i++) {
        c.globalAlpha = 0.55 * (1 - Math.min(1, Math.abs(share(block.k, i)) * 2));
        if (block.isDown) c.fillRect(block.left, block.top + i * ch, block.outputs * cw, ch);
        else c.fillRect(block.left + i * cw, block.top, cw, block.outputs * ch);
      }
      c.globalAlpha = 1;
    }

    function dots(c, block) {
      const { weights, inputs } = net.policy.layers[block.k];
      for (let o = 0; o < block.outputs; o++) {
        for (let i = 0; i < block.inputs; i++) {
          const added = weights[o * inputs + i] * share(block.k, i);
          if (!added) continue;
          const [x, y, w, h] = cell(block, o, i);
          const radius = Math.min(w, h) * 0.34 * Math.sqrt(Math.min(1, Math.abs(added)));
          disc(c, x + w / 2, y + h / 2, radius + 1, colours.card);
          disc(c, x + w / 2, y + h / 2, radius, colourOf(added));
        }
      }
    }

    // Sums as bars about a line that is zero, and below them what the activation makes of them.
    function outputs(c, block, chosen) {
      const { k } = block, sums = net.sums[k], half = block.thickness / 2;
      const top = Math.max(...Array.from(sums.subarray(0, block.outputs), Math.abs));
      largest[k] = Math.max(top, 0.995 * largest[k], 1);
      const isLast = k === net.layers.length - 1;
      for (let o = 0; o < block.outputs; o++) {
        const [x, y, w, h] = cell(block, o, 0);
        const size = (sums[o] / largest[k]) * half, space = Math.min(w, h) >= 4 ? 1.5 : 0;
        c.fillStyle = colourOf(sums[o]);
        const value = isLast ? outcome(o, chosen) : share(k + 1, o);
        if (block.isDown) {
          c.fillRect(x + space, block.sumsAt + half - Math.max(size, 0), w - 2 * space, Math.abs(size));
        } else {
          c.fillRect(block.sumsAt + half + Math.min(size, 0), y + space, Math.abs(size), h - 2 * space);
        }
        strip(c, block.isDown ? [x, block.stripAt, w, STRIP] : [block.stripAt, y, STRIP, h], value);
      }
      const { cw, ch } = block;
      c.fillStyle = colours.soft;
      if (block.isDown) c.fillRect(block.left, block.sumsAt + half - 0.5, block.outputs * cw, 1);
      else c.fillRect(block.sumsAt + half - 0.5, block.top, 1, block.outputs * ch);
    }

    // Of an output: 1 for the action that is taken, or where in its range it is, in [-1, 1].
    function outcome(o, chosen) {
      if (net.policy.outputKind === "discrete") return chosen(o) ? 1 : 0;
      return clip(net.sums[net.layers.length - 1][o] * 2 ** -net.outputExponent, -1, 1);
    }

    function strip(c, rectangle, value) {
      square(c, rectangle, colours.zero);
      if (!value) return;
      c.globalAlpha = 0.2 + 0.8 * Math.min(1, Math.abs(value));
      square(c, rectangle, colourOf(value));
      c.globalAlpha = 1;
    }

    function text(c, words, x, y, { align = "left", colour = colours.soft, weight = 400 } = {}) {
      c.font = `${weight} 12px system-ui, sans-serif`;
      c.textAlign = align;
      c.textBaseline = "middle";
      c.fillStyle = colour;
      c.fillText(words, x, y);
    }

    // The words, cut at their end where there is no room for them.
    function fitted(c, words, room) {
      c.font = "400 12px system-ui, sans-serif";
      if (c.measureText(words).width <= room) return words;
      let shown = words;
      while (shown && c.measureText(`${shown}…`).width > room) shown = shown.slice(0, -1);
      return `${shown}…`;
    }

    function inputs(c, observation) {
      const { blocks: [block], hasLabels, margin } = layout, { ch } = block;
      if (hasLabels && !layout.labels) { // to measure a text takes long: once for each layout
        layout.labels = world.observationNames.map((name) => fitted(c, name, margin - 44));
      }
      for (let i = 0; i < block.inputs; i++) {
        const y = block.top + i * ch;
        strip(c, [block.left - GAP - STRIP, y, STRIP, ch], share(0, i));
        if (!hasLabels) continue;
        text(c, layout.labels[i], 0, y + ch / 2);
        text(c, short(observation[i]), margin - 4, y + ch / 2, { align: "right", colour: colours.ink });
      }
      if (block.bias && hasLabels) {
        text(c, "bias", block.left - GAP - STRIP, block.biasAt + ch / 2, { align: "right" });
      }
    }

    function logits(c, block, chosen) {
      const values = net.sums[block.k], { cw, ch } = block;
      for (let o = 0; o < block.outputs; o++) {
        const [x, y] = cell(block, o, 0);
        const style = chosen(o) ? { colour: colours.accent, weight: 650 } : {};
        const name = world.actionNames[o] || `${o}`;
        if (block.isDown) {
          if (cw < 20) continue;
          text(c, signed(values[o]), x + cw / 2, block.stripAt + STRIP + 9, { align: "center", ...style });
          const shown = fitted(c, name, Math.max(cw - 4, 60));
          text(c, shown, x + cw / 2, block.stripAt + STRIP + 24, { align: "center" });
        } else if (ch >= 9) {
          text(c, signed(values[o]), block.stripAt + STRIP + 5, y + ch / 2, style);
          if (block.k === 1 && layout.hasLabels) {
            text(c, name, block.left - GAP, y + ch / 2, { align: "right", ...style });
          } else if (world.actionNames[o]) {
            const behind = block.stripAt + STRIP + 12 + 7 * digits(block.layer);
            const room = view.width - behind;
            if (room > 40) text(c, fitted(c, name, room), behind, y + ch / 2);
          }
        }
      }
    }

    return {
      draw(observation, action) {
        const { context: c, width, height } = view, { blocks, detailed } = layout;
        const isDiscrete = net.policy.outputKind === "discrete";
        const chosen = (o) => !isDiscrete || o === action;
        c.clearRect(0, 0, width, height);
        c.drawImage(frozen, 0, 0, width, height);
        for (const block of blocks) {
          dim(c, block);
          if (detailed) dots(c, block);
          outputs(c, block, chosen);
        }
        inputs(c, observation);
        logits(c, blocks[blocks.length - 1], chosen);
      },
      remember() {},
      forget() {},
      refit: () => view.fit(),
      detailed: () => layout.detailed,
    };
  }

  const isMatrices = (policy) => policy.layers.every((l) => l.type === "dense" && !l.skip);

  // --------------------------------------------------------------------------------- the numbers

  function exampleObservations(policy, examples) {
    const bytes = fromBase64(examples.observations);
    if (policy.inputKind !== "bits") return new Float32Array(bytes.buffer);
    const bit = bitOf(bytes, policy.inputs);
    return Float32Array.from({ length: examples.count * policy.inputs }, (_, at) =>
      bit(Math.floor(at / policy.inputs), at % policy.inputs));
  }

  // NumPy computed the examples; all integers and actions must be the same.
  function selftest(net, examples) {
    const { policy } = net, read = (name, Kind) => new Kind(fromBase64(examples[name]).buffer);
    const observations = exampleObservations(policy, examples), logits = read("logits", Int32Array);
    const isDiscrete = policy.outputKind === "discrete";
    const actions = read("actions", isDiscrete ? Int32Array : Float32Array);
    const isSame = (a, b) => a === b || (a !== a && b !== b);
    let equal = 0;
    net.reset(); // with a memory they are one episode
    for (let n = 0; n < examples.count; n++) {
      const row = (all, size) => all.subarray(n * size, (n + 1) * size);
      const action = net.act(row(observations, policy.inputs));
      const acted = isDiscrete ? [action] : Array.from(action);
      const expected = row(actions, acted.length), sums = row(logits, policy.outputs);
      const found = net.sums[net.sums.length - 1];
      const isEqual = acted.every((a, i) => isSame(a, expected[i]))
        && found.every((logit, i) => logit === sums[i]);
      if (isEqual) equal++;
    }
    return equal;
  }

  // Short loops with pauses between them, so that the page stays alive. NaN if the clock stands
  // still, as it does in a browser that is being tested.
  async function measure(policy) {
    const net = evaluator(policy), samples = 64;
    const work = policy.layers.reduce((sum, layer) => sum + layer.products, 0);
    const centre = (i) => ({ f32: policy.mean[i], pixels: 128 })[policy.inputKind] || 0;
    const reach = (i) => (policy.inputKind === "f32" ? 127 / 2 ** policy.exponent[i] : 127);
    const observations = Array.from({ length: samples }, () => Float32Array.from(
      { length: policy.inputs }, (_, i) => centre(i) + (2 * Math.random() - 1) * reach(i)));
    const largest = Math.max(samples, Math.round(1e7 / work));
    let chunk = samples, evaluations = 0, milliseconds = 0;
    while (milliseconds < 300) {
      const start = performance.now();
      for (let n = 0; n < chunk; n++) net.act(observations[n % samples]);
      const took = performance.now() - start;
      if (took >= 4 || (chunk === largest && took > 0)) {
        evaluations += chunk;
        milliseconds += took;
      } else if (chunk === largest) return NaN;
      else chunk = Math.min(2 * chunk, largest);
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    return (1000 * evaluations) / milliseconds;
  }

  async function showSpeed(policy) {
    element("measure").disabled = true;
    const speed = await measure(policy);
    const words = speed >= 1e6 ? `${(speed / 1e6).toFixed(1)} million` : count(speed);
    element("speed").textContent = Number.isNaN(speed) ? "not measured" : words;
    document.documentElement.dataset.speed = speed;
    element("measure").disabled = false;
  }

  const MAX_BYTES_SHOWN = 4096;

  function showBytes(bytes, parts) {
    element("file-title").textContent = `The whole policy: ${count(bytes.length)} bytes`;
    const names = parts.map((part) => part.name);
    parts.forEach((part, i) => {
      const place = names.length > 5 ? Math.min(i, 4) : i === names.length - 1 ? 4 : i;
      const className = part.name === "weights" ? "part-3" : `part-${place === 3 ? 4 : place}`;
      element("parts").append(create("li", `${part.name} ${count(part.stop - part.start)}`, className));
      const shown = bytes.subarray(part.start, Math.min(part.stop, MAX_BYTES_SHOWN));
      const hex = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
      element("bytes").append(create("span", hex + " ", className));
    });
    if (bytes.length > MAX_BYTES_SHOWN) element("bytes").append("…");
    const blob = new Blob([bytes], { type: "application/octet-stream" });
    element("save").href = URL.createObjectURL(blob);
  }

  function wordsOfWorld(policy, task, replay) {
    if (task) return "Push it: it does not know you are there.";
    if (replay) return "It sees again what it saw in a recorded episode.";
    return policy.image ? "Draw on what it sees." : "Move its observations.";
  }

  function wordsOfNetwork(policy) {
    const weighted = policy.layers.filter((layer) => layer.weights.length);
    const weights = weighted.every((l) => l.kind === "binary") ? "−1 and +1" : "−1, 0 and +1";
    const memory = policy.layers.reduce((sum, l) => sum + (l.isCell ? l.outputs : 0), 0);
    const remembers = memory ? ` and a memory of ${count(memory)} numbers` : "";
    return `A neural network with the weights ${weights}${remembers}, computed in integers by this page. `;
  }

  // The shapes between layers; of a deep network the first, how many, and the last.
  function wordsOfShape(policy) {
    const shapes = [policy.image || [policy.inputs], ...policy.layers.map((layer) => layer.after)];
    const words = shapes.map((shape) => shape.join("×"));
    if (words.length <= 6) return words.join("–");
    return `${words[0]}–(${policy.layers.length} layers)–${words[words.length - 1]}`;
  }

  function showWords(data, bytes, policy, task) {
    const name = data.env || "no task named";
    const sentence = task ? task.sentence : "make a policy";
    const headline = data.title || `${count(bytes.length)} bytes ${sentence}`;
    element("headline").textContent = headline;
    document.title = `${headline} · ${name}`;
    element("tagline").textContent = wordsOfNetwork(policy) + wordsOfWorld(policy, task, data.replay);
    element("env").textContent = name;
    element("shape").textContent = wordsOfShape(policy);
    element("identity").textContent = data.id.slice(0, 12);
    element("identity").title = `SHA-256 of the file: ${data.id}`;
  }

  function showLayersNote(policy) {
    const has = (...types) => policy.layers.some((layer) => types.includes(layer.type));
    const [first] = policy.layers;
    element("network-note").textContent = [
      has("convolution") ? "Each picture: what a filter finds, and where." : "",
      first.type === "convolution" ? "Below it: the filter, a square for each channel that it sees." : "",
      has("elman", "gated") ? "Each cell: a number that it keeps; below it the steps before." : "",
      has("gated") ? "Bars: how far its gate is open." : "",
    ].filter(Boolean).join(" ");
  }

  function showNote(net, policy, isDetailed) {
    const kinds = new Set(policy.layers.slice(0, -1).map((layer) => layer.activation));
    const words = { sign: "their sign", ternary: "−1, 0 or +1", int8: "8 bits", int4: "4 bits" };
    const becomes = [...kinds].map((kind) => words[kind]).join(", ");
    const wide = Math.max(...net.values.map((v) => v.length));
    const parts = [
      isDetailed ? "Squares: weights. Dots: what each adds now." : "Faint: inputs that add little now.",
      "Bars: the sums" + (becomes ? `, cut to ${becomes} below.` : "."),
      wide > MAX_SHOWN ? `The first ${MAX_SHOWN} of up to ${count(wide)} units.` : "",
    ];
    element("network-note").textContent = parts.filter(Boolean).join(" ");
  }

  // ------------------------------------------------------------------------------------- running

  function findTask(env, policy) {
    const name = env.replace(/^.*\//, ""), task = Object.hasOwn(SCENES, name)
      ? globalThis.ternevoTasks[name] : null;
    const fits = task && policy.inputs === task.observations.length
      && policy.outputs === task.actions.length && policy.outputKind === task.outputKind;
    return fits ? [name, task] : [name, null];
  }

  function run(net, world) {
    const network = isMatrices(net.policy) ? networkView(net, world) : layersView(net, world);
    const session = { steps: 0, total: 0, lag: 0, wait: 0, paused: false, last: 0 };
    let action = preview();

    // What the first step will do: looked at, and not taken, which a memory would keep.
    function preview() {
      net.reset();
      const first = net.act(world.observe());
      net.reset();
      return first;
    }

    function restart() {
      world.reset();
      network.forget();
      action = preview();
      Object.assign(session, { steps: 0, total: 0, wait: 0 });
      element("notice").classList.remove("shown");
    }

    function tick() {
      if (session.wait > 0) {
        if (--session.wait === 0) restart();
        return;
      }
      action = net.act(world.observe());
      network.remember();
      session.total += world.step(action);
      session.steps += 1;
      if (world.isDone()) {
        session.wait = Math.round(1.4 * world.rate);
        element("notice").textContent = world.over;
        element("notice").classList.add("shown");
      }
    }

    function describe() {
      const words = net.policy.outputKind === "discrete"
        ? world.actionNames[action] || `action ${action}`
        : Array.from(action.subarray(0, 3), short).join(", ") + (action.length > 3 ? " …" : "");
      element("action").textContent = words;
      element("step").textContent = count(session.steps);
      const digits = Number.isInteger(session.total) ? 0 : 1;
      element("return").textContent = signed(session.total.toFixed(digits));
    }

    function frame(now) {
      if (!session.paused) {
        session.lag = Math.min(session.lag + ((now - session.last) / 1000) * world.rate, 6);
        for (; session.lag >= 1; session.lag--) tick();
      }
      session.last = now;
      world.draw(session.wait ? 1 : session.lag, action);
      network.draw(world.observe(), action);
      describe();
      requestAnimationFrame(frame);
    }

    function pause(paused = !session.paused) {
      session.paused = paused;
      element("pause").setAttribute("aria-pressed", String(paused));
    }

    listen({ world, pause, restart, push: (direction) => session.wait || world.push(direction) });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      readColours();
      network.refit();
    });
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) pause(true);
    requestAnimationFrame((now) => {
      session.last = now;
      frame(now);
    });
    return network;
  }

  function listen({ world, pause, restart, push }) {
    const anyWay = () => push(Math.random() < 0.5 ? -1 : 1);
    const buttons = {
      left: () => push(-1), right: () => push(1), push: anyWay, pause: () => pause(), reset: restart,
    };
    for (const [id, action] of Object.entries(buttons)) {
      element(id).addEventListener("click", (event) => {
        action();
        // After a click by pointer the space bar is to push, not to click once more.
        if (event.detail > 0) element(id).blur();
      });
    }
    const keys = {
      " ": anyWay, ArrowLeft: buttons.left, ArrowRight: buttons.right, p: buttons.pause, r: restart,
    };
    document.addEventListener("keydown", (event) => {
      const isBusy = event.target.closest("button, input, a, summary, #bytes");
      if (isBusy || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      event.preventDefault();
      if (!event.repeat) keys[event.key]();
    });
    element("scene").addEventListener("pointerdown", (event) => push(world.directionFrom(event.offsetX)));
  }

  function worldOf(data, policy, name, task) {
    const { replay } = data;
    if (task) return taskWorld(name, task);
    const without = replay ? ["push"] : policy.image ? ["push", "returns"] : ["returns"];
    for (const id of ["left", "right", ...without]) element(id).hidden = true;
    if (replay) return replayWorld(policy, data);
    if (policy.image) return drawnWorld(policy, data);
    element("push").firstChild.textContent = "Stir ";
    return sliderWorld(policy, data);
  }

  function main() {
    const state = document.documentElement.dataset;
    const data = JSON.parse(element("data").textContent);
    let bytes, policy, net;
    try {
      bytes = fromBase64(data.policy);
      policy = decode(bytes);
      net = evaluator(policy);
      const equal = selftest(net, data.examples);
      state.selftest = `${equal}/${data.examples.count}`;
      if (equal !== data.examples.count) throw new Error("it does not compute what NumPy computes");
    } catch (error) {
      state.state = "refused";
      element("headline").textContent = "This policy is damaged";
      element("refusal").textContent = `It does not act, because of ${error.message}.`;
      element("refusal").hidden = false;
      return;
    }
    readColours();
    const [name, task] = findTask(data.env, policy);
    showWords(data, bytes, policy, task);
    showBytes(bytes, policy.parts);
    element("check").textContent = `Checked just now: ${data.examples.count} of `
      + `${data.examples.count} examples give the same integers and actions here as in NumPy, bit for bit.`;
    const isPlain = isMatrices(policy);
    document.documentElement.dataset.view = isPlain ? "weights" : "layers";
    element("brain-title").textContent = isPlain ? "Every weight, live" : "Every layer, live";
    const world = worldOf(data, policy, name, task);
    const widest = Math.max(5, ...world.actionNames.map((name) => name.length));
    element("action").style.minWidth = `${widest}ch`;
    const network = run(net, world);
    if (isPlain) showNote(net, policy, network.detailed());
    else showLayersNote(policy);
    element("measure").addEventListener("click", () => showSpeed(policy));
    setTimeout(() => showSpeed(policy), 400);
    state.state = "running";
  }

  main();
})();
