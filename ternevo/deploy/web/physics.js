// Classic control as in gymnax: the same equations and rewards, in float64.
// A task has `reset(random)` and `observe(state)`; `step(state, action)` changes the state and
// returns the reward; `isDone(state)` says whether the episode is over.
globalThis.ternevoTasks = (() => {
  "use strict";
  const { PI, sin, cos, min, max } = Math;
  const clip = (value, low, high) => min(max(value, low), high);
  const between = (random, low, high) => low + (high - low) * random();
  const wrap = (angle) => angle - 2 * PI * Math.floor((angle + PI) / (2 * PI));

  const cartPole = {
    observations: ["position", "speed", "angle", "spin"],
    actions: ["push left", "push right"],
    outputKind: "discrete",
    rate: 50,
    angles: [],
    sentence: "balance this pole",
    over: "It fell. Again!",
    maxX: 2.4,
    maxAngle: (12 * 2 * PI) / 360,
    reset(random) {
      const [x, speed, angle, spin] = [0, 0, 0, 0].map(() => between(random, -0.05, 0.05));
      return { x, speed, angle, spin };
    },
    observe: (s) => [s.x, s.speed, s.angle, s.spin],
    isDone: (s) => Math.abs(s.x) > cartPole.maxX || Math.abs(s.angle) > cartPole.maxAngle,
    step(s, action) {
      const reward = cartPole.isDone(s) ? 0 : 1;
      const force = action === 1 ? 10 : -10, total = 1.1, poleMass = 0.05, length = 0.5, tau = 0.02;
      const temp = (force + poleMass * s.spin ** 2 * sin(s.angle)) / total;
      const turn = (9.8 * sin(s.angle) - cos(s.angle) * temp)
        / (length * (4 / 3 - (0.1 * cos(s.angle) ** 2) / total));
      const push = temp - (poleMass * turn * cos(s.angle)) / total;
      s.x += tau * s.speed;
      s.speed += tau * push;
      s.angle += tau * s.spin;
      s.spin += tau * turn;
      return reward;
    },
    push(s, direction) {
      s.spin += 0.7 * direction;
      s.speed += 0.3 * direction;
    },
  };

  const acrobot = {
    observations: ["cos upper", "sin upper", "cos lower", "sin lower", "upper spin", "lower spin"],
    actions: ["turn −1", "let go", "turn +1"],
    outputKind: "discrete",
    rate: 15,
    angles: ["upper", "lower"],
    sentence: "swing this arm up",
    over: "Over the line!",
    reset(random) {
      const [upper, lower, upperSpin, lowerSpin] = [0, 0, 0, 0].map(() => between(random, -0.1, 0.1));
      return { upper, lower, upperSpin, lowerSpin };
    },
    observe: (s) =>
      [cos(s.upper), sin(s.upper), cos(s.lower), sin(s.lower), s.upperSpin, s.lowerSpin],
    isDone: (s) => -cos(s.upper) - cos(s.upper + s.lower) > 1,
    step(s, action) {
      const torque = action - 1, dt = 0.2;
      const y = [s.upper, s.lower, s.upperSpin, s.lowerSpin];
      const at = (k, h) => y.map((value, i) => value + h * k[i]);
      const k1 = acrobot.slope(y, torque), k2 = acrobot.slope(at(k1, dt / 2), torque);
      const k3 = acrobot.slope(at(k2, dt / 2), torque), k4 = acrobot.slope(at(k3, dt), torque);
      const next = y.map((v, i) => v + (dt / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
      s.upper = wrap(next[0]);
      s.lower = wrap(next[1]);
      s.upperSpin = clip(next[2], -4 * PI, 4 * PI);
      s.lowerSpin = clip(next[3], -9 * PI, 9 * PI);
      return acrobot.isDone(s) ? 0 : -1;
    },
    slope([t1, t2, w1, w2], torque) {
      const g = 9.8, d1 = 0.25 + 1.25 + cos(t2) + 2, d2 = 0.25 + 0.5 * cos(t2) + 1;
      const phi2 = 0.5 * g * cos(t1 + t2 - PI / 2);
      const phi1 = -0.5 * w2 ** 2 * sin(t2) - w2 * w1 * sin(t2) + 1.5 * g * cos(t1 - PI / 2) + phi2;
      const a2 = (torque + (d2 / d1) * phi1 - 0.5 * w1 ** 2 * sin(t2) - phi2)
        / (1.25 - d2 ** 2 / d1);
      return [w1, w2, -(d2 * a2 + phi1) / d1, a2];
    },
    push(s, direction) {
      s.upperSpin += 1.5 * direction;
    },
  };

  // The two cars differ in where the goal is, in the engine, and in what the left wall does.
  const car = (goal, rest) => ({
    observations: ["position", "speed"],
    rate: 30,
    goal,
    angles: [],
    sentence: "drive this car up the hill",
    over: "At the flag!",
    reset: (random) => ({ x: between(random, -0.6, -0.4), speed: 0 }),
    observe: (s) => [s.x, s.speed],
    isDone: (s) => s.x >= goal && s.speed >= 0,
    roll(s, force) {
      s.speed = clip(s.speed + force - 0.0025 * cos(3 * s.x), -0.07, 0.07);
      s.x = clip(s.x + s.speed, -1.2, 0.6);
    },
    push(s, direction) {
      s.speed = clip(s.speed + 0.02 * direction, -0.07, 0.07);
    },
    ...rest,
  });

  const mountainCar = car(0.5, {
    actions: ["left", "coast", "right"],
    outputKind: "discrete",
    step(s, action) {
      mountainCar.roll(s, (action - 1) * 0.001);
      if (s.x === -1.2 && s.speed < 0) s.speed = 0;
      return -1;
    },
  });

  const mountainCarContinuous = car(0.45, {
    actions: ["engine"],
    outputKind: "continuous",
    step(s, [action]) {
      mountainCarContinuous.roll(s, clip(action, -1, 1) * 0.0015);
      if (s.x >= 0.45 && s.speed < 0) s.speed = 0;
      return -0.1 * action ** 2 + (mountainCarContinuous.isDone(s) ? 100 : 0);
    },
  });

  const pendulum = {
    observations: ["cos angle", "sin angle", "spin"],
    actions: ["torque"],
    outputKind: "continuous",
    rate: 20,
    angles: [],
    sentence: "swing this pendulum up",
    over: "",
    reset: (random) => ({ angle: between(random, -PI, PI), spin: between(random, -1, 1) }),
    observe: (s) => [cos(s.angle), sin(s.angle), s.spin],
    isDone: () => false,
    step(s, [action]) {
      const u = clip(action, -2, 2);
      const reward = -(wrap(s.angle) ** 2 + 0.1 * s.spin ** 2 + 0.001 * u ** 2);
      s.spin = clip(s.spin + (15 * sin(s.angle) + 3 * u) * 0.05, -8, 8);
      s.angle += s.spin * 0.05;
      return reward;
    },
    push(s, direction) {
      s.spin = clip(s.spin + 4 * direction, -8, 8);
    },
  };

  return {
    "CartPole-v1": cartPole,
    "Acrobot-v1": acrobot,
    "MountainCar-v0": mountainCar,
    "MountainCarContinuous-v0": mountainCarContinuous,
    "Pendulum-v1": pendulum,
  };
})();
