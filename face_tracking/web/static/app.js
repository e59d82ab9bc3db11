// SPDX-License-Identifier: Apache-2.0
// The robot's page: shows what /api/live sends, and posts what the user changes.
'use strict';

const byId = (id) => document.getElementById(id);

function element(tag, text, properties = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return Object.assign(made, properties);
}

let hiding;
function showMessage(text, isError) {
  const box = byId('message');
  box.textContent = text;
  box.className = isError ? 'error' : '';
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { box.hidden = true; }, isError ? 8000 : 3000);
}

async function send(path, body) {
  const options = body === undefined ? {} : {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)};
  const response = await fetch(path, options);
  if (response.status === 401) { location.href = 'login'; return null; }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || response.statusText);
  return answer;
}

async function act(path, body) {
  try {
    const answer = await send(path, body);
    if (answer && answer.done) showMessage(answer.done, false);
    return true;
  } catch (error) {
    showMessage(error.message, true);
    return false;
  }
}

// What the robot sees.

function nameOf(face) {
  return face.person || 'unknown';
}

function showFaces(faces) {
  byId('no-faces').hidden = faces.length > 0;
  byId('faces').replaceChildren(...faces.map((face) => {
    const row = element('li');
    const looks = face.looking === true ? ', looks here' : face.looking === false ? ', looks away' : '';
    const score = face.person ? ` ${Math.round(100 * face.score)} %` : '';
    row.append(element('span', `#${face.id}`, {className: 'badge'}),
      element('span', `${nameOf(face)}${score}${looks}`, {className: 'grow'}));
    return row;
  }));
  const select = byId('enroll-id');
  const ids = ['', ...faces.map((face) => face.id)];
  if (document.activeElement !== select
      && ids.join() !== Array.from(select.options, (option) => option.value).join()) {
    const chosen = select.value;
    select.replaceChildren(...ids.map((id) => element('option', id ? `face #${id}` : 'nearest the center', {value: id})));
    select.value = ids.includes(chosen) ? chosen : '';
  }
}

function showPeople(people) {
  byId('people-card').hidden = people === null;
  if (people === null) return;
  byId('no-people').hidden = people.length > 0;
  const list = byId('people');
  const key = JSON.stringify(people);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...people.map((name) => {
    const row = element('li');
    const rename = element('button', 'Rename', {type: 'button', className: 'quiet'});
    const forget = element('button', 'Forget', {type: 'button', className: 'quiet'});
    rename.addEventListener('click', () => {
      const wanted = prompt(`New name of ${name}`, name);
      if (wanted && wanted !== name) act('api/people/rename', {name, new_name: wanted});
    });
    forget.addEventListener('click', () => {
      if (confirm(`Forget ${name}? All data of this person is deleted.`)) act('api/people/forget', {name});
    });
    row.append(element('span', name, {className: 'grow'}), rename, forget);
    return row;
  }));
}

function describeEvent(event) {
  const who = event.person || (event.id ? `face #${event.id}` : '');
  const where = event.zone ? ` (${event.zone})` : '';
  const sentences = {
    arrived: `${who} arrived`, left: `${who} left`, recognized: `${who} was recognized`,
    looked_at_me: `${who} looked at the robot`, looked_away: `${who} looked away`,
    count_changed: `${event.count} in view`};
  return (sentences[event.event] || event.event) + where;
}

function showEvents(events) {
  byId('no-events').hidden = events.length > 0;
  byId('events').replaceChildren(...events.slice().reverse().map((event) => {
    const row = element('li');
    row.append(element('time', new Date(event.time).toLocaleTimeString(), {className: 'hint'}),
      element('span', describeEvent(event), {className: 'grow'}));
    return row;
  }));
}

function showDiagnostics(all) {
  const box = byId('diagnostics');
  for (const status of all) {
    let entry = Array.from(box.children).find((child) => child.dataset.name === status.name);
    if (!entry) {
      entry = element('details');
      entry.dataset.name = status.name;
      entry.append(element('summary'), element('table'));
      box.insertBefore(entry, Array.from(box.children).find(
        (child) => child.dataset.name > status.name) || null);
    }
    entry.firstChild.textContent = `${status.name}: ${status.message}`;
    entry.firstChild.className = `level-${Math.min(status.level, 2)}`;
    if (!entry.open) continue;
    entry.lastChild.replaceChildren(...Object.entries(status.values).map(([key, value]) => {
      const row = element('tr');
      row.append(element('td', key), element('td', value));
      return row;
    }));
  }
}

function showHead(head) {
  const degrees = (angle) => `${Math.round(angle * 180 / Math.PI)}\u00b0`;
  byId('head').textContent = head ? `Head: pan ${degrees(head.pan)}, tilt ${degrees(head.tilt)}` : '';
}

function show(state) {
  showFaces(state.faces);
  showPeople(state.people);
  showEvents(state.events);
  showDiagnostics(state.diagnostics);
  showHead(state.head);
  byId('no-image').hidden = !state.image_is_old;
}

// Parameters.

function inputFor(row) {
  if (typeof row.value === 'boolean') {
    return element('input', undefined, {type: 'checkbox', checked: row.value});
  }
  if (row.choices.length) {
    const select = element('select');
    select.replaceChildren(...row.choices.map((choice) => element('option', choice, {value: choice})));
    select.value = row.value;
    return select;
  }
  const input = element('input', undefined, {value: row.value});
  if (typeof row.value === 'number') {
    Object.assign(input, {type: 'number', step: row.integer ? '1' : 'any'});
    if (row.low !== null) Object.assign(input, {min: row.low, max: row.high});
  }
  return input;
}

function valueOf(input, row) {
  if (typeof row.value === 'boolean') return input.checked;
  return typeof row.value === 'number' ? Number(input.value) : input.value;
}

function parameterRow(row) {
  const line = element('div', undefined, {className: 'parameter'});
  const input = inputFor(row);
  input.id = `${row.node}.${row.name}`;
  input.disabled = row.read_only;
  input.addEventListener('change', async () => {
    const value = valueOf(input, row);
    if (await act('api/parameters', {node: row.node, name: row.name, value})) row.value = value;
    else if (typeof row.value === 'boolean') input.checked = row.value;
    else input.value = row.value;
  });
  line.append(element('label', row.name, {htmlFor: input.id}), input,
    element('p', row.description, {className: 'hint'}));
  return line;
}

async function loadParameters() {
  try {
    const answer = await send('api/parameters');
    if (!answer) return;
    const groups = new Map();
    for (const row of answer.parameters) {
      if (!groups.has(row.node)) {
        const group = element('details');
        group.append(element('summary', row.node));
        groups.set(row.node, group);
      }
      groups.get(row.node).append(parameterRow(row));
    }
    byId('parameters').replaceChildren(...groups.values());
  } catch (error) {
    showMessage(error.message, true);
  }
}

// Connections.

function connect() {
  const source = new EventSource('api/live');
  const status = byId('status');
  source.onopen = () => { status.textContent = 'live'; status.className = 'badge level-0'; };
  source.onmessage = (message) => show(JSON.parse(message.data));
  source.onerror = () => {
    status.textContent = 'no connection';
    status.className = 'badge level-2';
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  };
}

function watch() {
  const image = byId('live');
  image.src = `stream.mjpeg?${Date.now()}`;
  image.onerror = () => setTimeout(watch, 3000);
}

// A hidden page does not watch, so that a forgotten tab costs nothing.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    byId('live').onerror = null;
    byId('live').src = 'data:,';
  } else {
    watch();
  }
});

byId('enroll').addEventListener('submit', async (submission) => {
  submission.preventDefault();
  const name = byId('enroll-name').value.trim();
  if (await act('api/people/enroll', {name, id: byId('enroll-id').value})) byId('enroll-name').value = '';
});
byId('load-parameters').addEventListener('click', loadParameters);
connect();
watch();
