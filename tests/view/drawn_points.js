// Listens to WebGL: which clouds of points a frame draws, with their bounds, colours and matrices.
"use strict";
(() => {
  const gl = WebGL2RenderingContext.prototype;
  const names = new WeakMap(), contents = new WeakMap(), arrays = new WeakMap(), matrices = new WeakMap();
  const none = {}, summed = new WeakMap();
  // Of a cloud's values only once: a large one would take longer to sum up than to draw.
  const once = (data, make) => { if (!summed.has(data)) summed.set(data, make(data)); return summed.get(data); };
  const corners = (data) => [Math.min, Math.max].map((most) => [0, 1, 2].map((axis) => most(...data.filter((_, at) => at % 3 === axis))));
  const sum = (data) => data.reduce((sum, value, at) => (sum + (at % 97 + 1) * value) % 1000003, 0);
  let bound = null, vao = none, program = null, drawing = [], last = [], rendered = false, frames = 0;
  const wrap = (name, before) => {
    const own = gl[name];
    gl[name] = function (...given) { const made = own.apply(this, given); before.call(this, given, made); return made; };
  };
  wrap("bindBuffer", ([target, buffer]) => { if (target === 34962) bound = buffer; });
  wrap("bufferData", ([target, data]) => { if (target === 34962 && bound && ArrayBuffer.isView(data)) contents.set(bound, data.slice()); });
  wrap("bufferSubData", ([target, start, data]) => { if (target === 34962 && bound && ArrayBuffer.isView(data) && !start) contents.set(bound, data.slice()); });
  wrap("bindVertexArray", ([array]) => { vao = array || none; });
  wrap("vertexAttribPointer", ([index, size]) => {
    const known = arrays.get(vao) || {};
    known[index] = { buffer: bound, size };
    arrays.set(vao, known);
  });
  wrap("useProgram", ([used]) => { program = used; });
  wrap("getUniformLocation", ([, name], place) => { if (place) names.set(place, name); });
  wrap("uniformMatrix4fv", ([place, , values]) => {
    if (program && place && names.get(place) === "modelViewMatrix") matrices.set(program, Array.from(values));
  });
  wrap("drawArrays", ([mode, , count]) => {
    if (mode !== 0) return;
    const cloud = { count, matrix: matrices.get(program) };
    for (const { buffer } of Object.values(arrays.get(vao) || {})) {
      const data = buffer && contents.get(buffer);
      if (data instanceof Float32Array && data.length === 3 * count && !cloud.low) {
        [cloud.low, cloud.high] = once(data, corners);
      } else if (data && data.length === 3 * count && !(data instanceof Float32Array)) {
        cloud.color = once(data, sum);
      }
    }
    drawing.push(cloud);
  });
  const ask = window.requestAnimationFrame.bind(window);
  wrap("clear", () => { rendered = true; });
  // A frame in which nothing changed is not drawn again.
  const turn = () => { if (rendered) { last = drawing; frames += 1; } drawing = []; rendered = false; ask(turn); };
  ask(turn);
  window.drawnPoints = () => last;
  window.drawnFrames = () => frames;
})();
