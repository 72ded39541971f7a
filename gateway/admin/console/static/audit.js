// Shows new audit records above those that the page was loaded with. They may hold strangers' input,
// so it is set as text and never as markup. The cells are those of audit.html.
const MOST_ROWS = 500, REST = 2000, TRIES = 3;
const button = document.querySelector("button[data-follows]");
const status = document.getElementById("live");
const table = document.getElementById("records");
let source = null, last = button?.dataset.after, failures = 0;

function cell(row, text, kind = "") {
  const made = row.insertCell();
  made.className = kind;
  made.textContent = text;
  return made;
}

// As `path` of macros.html: a path may be broken after its slashes.
function pathCell(row, text) {
  const made = cell(row, "", "mono fold");
  for (const [i, part] of String(text).split("/").entries()) {
    if (i) made.append("/", document.createElement("wbr"));
    made.append(part);
  }
  return made;
}

function named(used) {
  if (!Array.isArray(used)) return "";
  return used.map(({ name, version }) => (version ? `${name}@${version}` : name)).join(" ");
}

function show(record) {
  if (record.event === "audit.end" && !button.dataset.follows.includes("event=")) return;
  const row = table.tBodies[0].insertRow(0);
  row.className = "arrived";
  const at = new Date(record.ts * 1000), when = row.insertCell();
  if (!Number.isNaN(at.valueOf())) {
    const time = document.createElement("time");
    time.dateTime = at.toISOString().replace(/\.\d+Z/, "Z");
    when.append(time);
    localise(when);
  }
  cell(row, record.event, "mono");
  const who = cell(row, record.actor || record.consumer, "text");
  if (record.actor && record.consumer) {
    const about = document.createElement("small");
    about.textContent = record.consumer;
    who.append(" ", about);
  }
  const key = cell(row, "", "mono");
  if (/^[0-9A-Za-z]{12}$/.test(record.key_id)) {
    const link = document.createElement("a");
    link.href = `/console/keys/${record.key_id}`;
    link.textContent = record.key_id;
    key.append(link);
  }
  const where = pathCell(row, record.agent ?? "");
  if (record.tool) where.append(":", document.createElement("wbr"), record.tool);
  cell(row, record.user, "fold");
  pathCell(row, named(record.credentials));
  cell(row, record.code, record.decision === "denied" ? "mono denied" : "mono");
  cell(row, record.count, "number");
  while (table.tBodies[0].rows.length > MOST_ROWS) table.tBodies[0].deleteRow(-1);
  table.parentElement.hidden = false;
  document.getElementById("none")?.remove();
}

function stop(said) {
  source?.close();
  source = null;
  button.textContent = button.dataset.follow;
  button.setAttribute("aria-pressed", "false");
  status.textContent = said;
}

function follow() {
  const place = button.dataset.follows;
  const made = source = new EventSource(last ? `${place}&after=${last}` : place);
  button.textContent = button.dataset.pause;
  button.setAttribute("aria-pressed", "true");
  made.onopen = () => {
    failures = 0;
    status.textContent = button.dataset.live;
  };
  made.onmessage = (event) => {
    last = event.lastEventId;
    show(JSON.parse(event.data));
  };
  made.onerror = () => {
    // The browser itself would reconnect with the first URL and show the same records again.
    made.close();
    failures += 1;
    if (failures >= TRIES) {
      stop(button.dataset.ended);
      return;
    }
    status.textContent = button.dataset.again;
    setTimeout(() => source === made && follow(), REST);
  };
}

if (button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    failures = 0;
    if (source) stop(button.dataset.paused);
    else follow();
  });
}
