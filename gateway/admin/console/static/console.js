// Local times, copy buttons, "choose all", and the state of a page that htmx keeps up to date.
const { lang } = document.documentElement;
const locale = navigator.languages.find((one) => one.startsWith(lang.slice(0, 2))) ?? lang;

function localise(where = document) {
  for (const time of where.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      time.title = time.dateTime.replace("T", " ").replace("Z", " UTC");
      time.textContent = at.toLocaleString(locale, {
        // With seconds in the audit, where the order matters.
        dateStyle: "medium", timeStyle: time.closest("#records") ? "medium" : "short",
      });
    }
  }
}
localise();

for (const button of document.querySelectorAll("button[data-copies]")) {
  // Browsers offer no clipboard to pages loaded without TLS from another machine.
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
    button.textContent = button.dataset.copied;
  });
}

for (const all of document.querySelectorAll("input[data-chooses]")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of all.form.querySelectorAll(`input[name^="${all.dataset.chooses}"]`)) {
      box.checked = all.checked;
    }
  });
}

// The live page asks for nothing while its tab is hidden. After a failure it keeps its figures and
// says so. When the session has ended, it reloads, which shows the login page.
const stale = (is) => document.body.classList.toggle("stale", is);
document.addEventListener("htmx:before:request", (event) => {
  if (document.hidden) event.preventDefault();
});
document.addEventListener("htmx:before:response", (event) => {
  const { status } = event.detail.ctx.response;
  if (status !== 200) event.preventDefault();
  if (status === 401 || status === 403) location.reload();
  stale(status !== 200);
});
document.addEventListener("htmx:error", () => stale(true));
document.addEventListener("htmx:after:swap", () => localise());
document.addEventListener("visibilitychange", () => {
  const live = document.getElementById("live");
  if (live && !document.hidden) window.htmx.trigger(live, "refresh");
});
