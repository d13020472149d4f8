// The part of the report that can be explored: one slider moves frame, depth, pose and the charts' cursors.
// Words of the data are set as text, never as markup. Matrices are column-major, 4 x 4.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("explore-data").textContent);
  const scenes = data.scenes, place = new Map(scenes.map((scene, index) => [scene.frame, index]));
  if (!scenes.length) return;
  const COLORS = { path: [0.25, 0.55, 1], truth: [1, 1, 1], loops: [1, 0.55, 0.12], camera: [0.2, 0.9, 0.5], mark: [1, 0.31, 0.63] };
  const element = (tag, set = {}) => Object.assign(document.createElement(tag), set);
  const css = (color) => `rgb(${color.map((part) => Math.round(255 * part)).join(" ")})`;
  let now = 0, asked = null, timer = 0;

  // Matrices.
  const product = (A, B) => A.map((_, index) => {
    const row = index % 4, column = index - row;
    return A[row] * B[column] + A[row + 4] * B[column + 1] + A[row + 8] * B[column + 2] + A[row + 12] * B[column + 3];
  });
  const applied = (M, [x, y, z]) => [0, 1, 2, 3].map((row) => M[row] * x + M[row + 4] * y + M[row + 8] * z + M[row + 12]);
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const seen = (right, up, back, eye) => [
    right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0,
    -dot(right, eye), -dot(up, eye), -dot(back, eye), 1,
  ];

  // Where viewers stand: around the map, z up, or at the camera of the scene.
  const level = data.space.level, radius = data.space.radius;
  const home = () => ({ target: applied(level, data.space.centre).slice(0, 3), yaw: -0.9, pitch: 0.75, away: 2.1 * radius });
  let stand = home(), inside = false;

  function viewed(aspect) {
    const pose = scenes[now].pose, tangent = inside && pose ? 1.05 * Math.max(data.space.cone[1], data.space.cone[0] / aspect) : 0.45;
    const near = inside ? 0.002 * radius : 0.01 * stand.away, far = 40 * radius + 4 * stand.away;
    const lens = [1 / (tangent * aspect), 0, 0, 0, 0, 1 / tangent, 0, 0,
      0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0];
    if (inside && pose) {  // x right, y down, z forward
      const axis = (column, sign) => [0, 1, 2].map((row) => sign * pose[4 * column + row]);
      return product(lens, seen(axis(0, 1), axis(1, -1), axis(2, -1), pose.slice(12, 15)));
    }
    const { target, yaw, pitch, away } = stand;
    const back = [Math.cos(pitch) * Math.cos(yaw), Math.cos(pitch) * Math.sin(yaw), Math.sin(pitch)];
    const right = [-Math.sin(yaw), Math.cos(yaw), 0];
    return product(product(lens, seen(right, cross(back, right), back, target.map((part, i) => part + away * back[i]))), level);
  }

  // WebGL: points, and lines that are wider than a pixel.
  const POINTS = [`#version 300 es
    uniform mat4 matrix; uniform float size; in vec3 position; in vec3 color; out vec3 shade;
    void main() { gl_Position = matrix * vec4(position, 1); shade = color;
      gl_PointSize = size > 0.0 ? clamp(size / gl_Position.w, 1.5, 14.0) : -size; }`, `#version 300 es
    precision mediump float; in vec3 shade; out vec4 drawn;
    void main() { vec2 off = gl_PointCoord - 0.5; if (dot(off, off) > 0.25) discard; drawn = vec4(shade, 1); }`];
  const LINES = [`#version 300 es
    uniform mat4 matrix; uniform vec2 screen; uniform float wide; in vec3 from; in vec3 to;
    void main() {
      vec4 p = matrix * vec4(from, 1), q = matrix * vec4(to, 1); float least = 1e-4;
      if (max(p.w, q.w) < least) { gl_Position = vec4(2, 2, 2, 1); return; }
      if (p.w < least) p = mix(p, q, (least - p.w) / (q.w - p.w));
      if (q.w < least) q = mix(q, p, (least - q.w) / (p.w - q.w));
      vec2 way = (q.xy / q.w - p.xy / p.w) * screen; float size = length(way);
      vec2 side = size > 0.0 ? vec2(-way.y, way.x) / size : vec2(0, 1);
      vec4 end = (gl_VertexID & 1) == 0 ? p : q;
      end.xy += ((gl_VertexID & 2) == 0 ? side : -side) * wide / screen * end.w; gl_Position = end;
    }`, `#version 300 es
    precision mediump float; uniform vec3 color; out vec4 drawn; void main() { drawn = vec4(color, 1); }`];

  function makeSpace(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: true });
    if (!gl) return null;
    const made = ([vertex, fragment]) => {
      const program = gl.createProgram();
      [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]].forEach(([kind, text]) => {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, text); gl.compileShader(shader); gl.attachShader(program, shader);
      });
      gl.linkProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
      return program;
    };
    const points = made(POINTS), lines = made(LINES);
    const buffer = (content) => {
      const held = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, held); gl.bufferData(gl.ARRAY_BUFFER, content, gl.STATIC_DRAW);
      return held;
    };
    const feed = (program, name, held, kind, normal, stride, offset, every) => {
      const index = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, held); gl.enableVertexAttribArray(index);
      gl.vertexAttribPointer(index, 3, kind, normal, stride, offset); gl.vertexAttribDivisor(index, every);
    };
    const set = (program, name, call, ...values) => gl[call](gl.getUniformLocation(program, name), ...values);
    gl.enable(gl.DEPTH_TEST); gl.clearColor(0.07, 0.09, 0.12, 1);
    return {
      lines: (flat) => ({ count: flat.length / 6, held: buffer(new Float32Array(flat)) }),
      points: (count, xyz, rgb) => ({ count, xyz: buffer(xyz), rgb: buffer(rgb), whole: xyz instanceof Uint16Array }),
      free: (held) => { if (held) { [held.held, held.xyz, held.rgb].forEach((one) => one && gl.deleteBuffer(one)); gl.deleteVertexArray(held.array || null); } },
      over() { gl.clear(gl.DEPTH_BUFFER_BIT); },  // what is drawn from now on nothing hides
      begin() { gl.viewport(0, 0, canvas.width, canvas.height); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT); },
      drawPoints(cloud, matrix, size) {
        if (!cloud.count) return;
        gl.useProgram(points); gl.bindVertexArray(cloud.array || (cloud.array = gl.createVertexArray()));
        feed(points, "position", cloud.xyz, cloud.whole ? gl.UNSIGNED_SHORT : gl.FLOAT, cloud.whole, 0, 0, 0);
        feed(points, "color", cloud.rgb, gl.UNSIGNED_BYTE, true, 0, 0, 0);
        set(points, "matrix", "uniformMatrix4fv", false, matrix); set(points, "size", "uniform1f", size);
        gl.drawArrays(gl.POINTS, 0, cloud.count);
      },
      drawLines(group, matrix, color, pixels) {
        if (!group.count) return;
        gl.useProgram(lines); gl.bindVertexArray(group.array || (group.array = gl.createVertexArray()));
        feed(lines, "from", group.held, gl.FLOAT, false, 24, 0, 1); feed(lines, "to", group.held, gl.FLOAT, false, 24, 12, 1);
        set(lines, "matrix", "uniformMatrix4fv", false, matrix); set(lines, "color", "uniform3fv", color);
        set(lines, "screen", "uniform2f", canvas.width, canvas.height); set(lines, "wide", "uniform1f", pixels * (window.devicePixelRatio || 1));
        gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, group.count);
      },
    };
  }

  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const chain = (places) => places.slice(1).flatMap((to, index) => [...places[index], ...to]);
  const canvas = at("x-canvas");
  const space = data.space.places ? makeSpace(canvas) : null;
  const drawn = {};
  let box = null;
  if (space) {
    const cloud = data.space.cloud;
    drawn.cloud = cloud ? space.points(cloud.count, new Uint16Array(bytes(cloud.xyz).buffer), bytes(cloud.rgb)) : { count: 0 };
    if (cloud) box = [cloud.span[0], 0, 0, 0, 0, cloud.span[1], 0, 0, 0, 0, cloud.span[2], 0, ...cloud.low, 1];
    for (const name of ["path", "truth"]) drawn[name] = space.lines(chain(data.space[name] || []));
    drawn.loops = space.lines((data.space.loops || []).flat(2));
  }

  function frustum(pose) {
    const [x, y] = data.space.cone, size = 0.09 * radius;
    const corners = [[-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]].map((corner) => applied(pose, corner.map((part) => size * part)).slice(0, 3));
    const eye = pose.slice(12, 15);
    return corners.flatMap((corner, index) => [...eye, ...corner, ...corner, ...corners[(index + 1) % 4]]);
  }

  let waiting = false;
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(paint); } };

  function paint() {
    waiting = false;
    if (!space) return;
    const sharp = window.devicePixelRatio || 1, wide = canvas.clientWidth, high = canvas.clientHeight;
    if (canvas.width !== Math.round(wide * sharp)) canvas.width = Math.round(wide * sharp);
    if (canvas.height !== Math.round(high * sharp)) canvas.height = Math.round(high * sharp);
    const matrix = viewed(wide / Math.max(high, 1));
    space.begin();
    if (box) space.drawPoints(drawn.cloud, product(matrix, box), data.space.cloud.size * canvas.height);
    space.drawLines(drawn.truth, matrix, COLORS.truth, 2);
    space.drawLines(drawn.path, matrix, COLORS.path, 3);
    space.drawLines(drawn.loops, matrix, COLORS.loops, 2);
    if (drawn.camera && !inside) space.drawLines(drawn.camera, matrix, COLORS.camera, 3);
    if (drawn.evidence) { space.over(); space.drawPoints(drawn.evidence, matrix, -13 * sharp); }
    at("x-labels").replaceChildren(...(asked && asked.points || []).map(([x, y, z, name]) => {
      const [u, v, , depth] = applied(matrix, [x, y, z]);
      const label = element("span", { textContent: name, hidden: depth <= 0 });
      label.style.left = `${50 + 50 * u / depth}%`; label.style.top = `${50 - 50 * v / depth}%`;
      return label;
    }));
    at("explore").dataset.drawn = "true";
  }

  // The scene that is shown.
  const cursors = [];
  for (const [name, axes] of Object.entries(data.charts)) {
    const figure = at(name);
    if (!figure) continue;
    for (const axis of axes) {
      const bar = element("i", { className: "x-cursor" });
      Object.assign(bar.style, { top: `${100 * axis.top}%`, height: `${100 * axis.height}%` });
      figure.append(bar);
      cursors.push([axis, bar]);
    }
  }

  function show(index, question = null) {
    now = Math.max(0, Math.min(scenes.length - 1, index));
    asked = question;
    const scene = scenes[now];
    at("x-slider").value = now;
    picture("x-frame", scene.input, `frame ${scene.frame}`);
    picture("x-depth", scene.depth, `depth of frame ${scene.frame}`);
    at("x-at").textContent = `${scene.seconds.toFixed(1)} s, frame ${scene.frame}`;
    at("x-pose").textContent = scene.pose
      ? `Camera at ${scene.pose.slice(12, 15).map((part) => part.toFixed(2)).join(", ")} ${data.space.unit} of the map`
      : "This scene has no place in the part of the map that is drawn.";
    at("x-facts").textContent = scene.facts.join("  ·  ");
    for (const [axis, bar] of cursors) {
      const value = axis.wall ? scene.wall : scene.seconds - axis.offset;
      const share = value === null ? -1 : (value - axis.first) / (axis.last - axis.first);
      bar.hidden = !(share >= 0 && share <= 1);
      bar.style.left = `${100 * (axis.left + axis.width * share)}%`;
    }
    if (space) {
      space.free(drawn.camera); space.free(drawn.evidence);
      drawn.camera = scene.pose ? space.lines(frustum(scene.pose)) : null;
      const points = asked && asked.points || [];
      drawn.evidence = points.length ? space.points(points.length, new Float32Array(points.flatMap((point) => point.slice(0, 3))),
        new Uint8Array(points.flatMap(() => COLORS.mark.map((part) => 255 * part)))) : null;
    }
    at("x-marks").replaceChildren(...(asked && scene.frame === asked.frame ? asked.marks : []).map(([u, v, name]) => {
      const mark = element("span", { textContent: name });
      mark.style.left = `${100 * u}%`; mark.style.top = `${100 * v}%`;
      return mark;
    }));
    at("x-answer").hidden = !asked;
    if (asked) at("x-answer").textContent = `${asked.question}  –  ${asked.answer || "no answer"}${asked.check ? `; geometry: ${asked.check}` : ""}`;
    for (const button of document.querySelectorAll("#x-worst button, #x-questions button")) {
      button.classList.toggle("on", button.entry === asked || (!asked && button.entry.frame === scene.frame && !button.entry.question));
    }
    redraw();
  }

  function picture(id, content, words) {
    const image = at(id);
    image.hidden = !content;
    if (content) { image.src = `data:image/jpeg;base64,${content}`; image.alt = words; }
  }

  const nearest = (frame) => place.has(frame) ? place.get(frame)
    : scenes.reduce((best, scene, index) => Math.abs(scene.frame - frame) < Math.abs(scenes[best].frame - frame) ? index : best, 0);

  function list(id, entries, words) {
    at(id).replaceChildren(...entries.map((entry) => {
      const button = element("button", { type: "button", entry, disabled: entry.frame === null });
      words(entry).forEach(([text, kind]) => button.append(element("span", { textContent: text, className: kind })));
      button.onclick = () => { pause(); show(nearest(entry.frame), entry.question ? entry : null); };
      const item = element("li");
      item.append(button);
      return item;
    }));
  }

  function pause() { clearInterval(timer); timer = 0; at("x-play").textContent = "Play"; }

  // Set up.
  at("explore").hidden = false;
  at("x-hint").textContent = data.hint;
  at("x-slider").max = scenes.length - 1;
  at("x-slider").oninput = () => { pause(); show(Number(at("x-slider").value)); };
  at("x-play").onclick = () => {
    if (timer) { pause(); return; }
    at("x-play").textContent = "Pause";
    timer = setInterval(() => { if (now + 1 >= scenes.length) pause(); else show(now + 1); }, 120);
    if (now + 1 >= scenes.length) show(0);
  };
  list("x-worst", data.worst, (entry) => [[entry.where, ""], [entry.why, "muted"]]);
  list("x-questions", data.questions, (entry) => [[entry.question, ""], [entry.where, "muted"], [entry.verdict, `tag ${entry.tone}`]].filter(([text]) => text));
  at("x-worst-title").textContent = data.worst_title;
  at("x-worst-part").hidden = !data.worst.length;
  at("x-questions-part").hidden = !data.questions.length;
  at("x-space").hidden = !data.space.places;
  at("x-none").hidden = Boolean(space);
  at("x-legend").replaceChildren(...[["path", "path"], ["truth", "ground truth"], ["loops", "loops"]]
    .filter(([name]) => (data.space[name] || []).length).concat([["camera", "camera of the scene"]])
    .map(([name, words]) => { const item = element("span", { textContent: words }); item.style.setProperty("--color", css(COLORS[name])); return item; }));
  at("x-inside").onclick = () => { inside = !inside; at("x-inside").setAttribute("aria-pressed", inside); redraw(); };
  at("x-home").onclick = () => { stand = home(); inside = false; at("x-inside").setAttribute("aria-pressed", false); redraw(); };
  canvas.onpointerdown = (event) => canvas.setPointerCapture(event.pointerId);
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.onpointermove = (event) => {
    if (!event.buttons || inside) return;
    const { movementX: x, movementY: y } = event;
    if (event.buttons === 1 && !event.shiftKey) {
      stand.yaw -= 0.008 * x;
      stand.pitch = Math.max(-1.55, Math.min(1.55, stand.pitch + 0.008 * y));
    } else {
      const { yaw, pitch } = stand, step = 0.9 * stand.away / canvas.clientHeight;
      const right = [-Math.sin(yaw), Math.cos(yaw), 0], back = [Math.cos(pitch) * Math.cos(yaw), Math.cos(pitch) * Math.sin(yaw), Math.sin(pitch)];
      const up = cross(back, right);
      stand.target = stand.target.map((part, i) => part + step * (y * up[i] - x * right[i]));
    }
    redraw();
  };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    stand.away = Math.max(0.02 * radius, Math.min(20 * radius, stand.away * Math.exp(0.001 * event.deltaY)));
    redraw();
  }, { passive: false });
  new ResizeObserver(redraw).observe(canvas);
  show(0);
})();
