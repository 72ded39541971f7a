// What a page cannot say without a script: the reader's own time, and a copy at one press.
const page = document.documentElement.lang.slice(0, 2);
const locale = navigator.languages.find((one) => one.startsWith(page)) ?? document.documentElement.lang;
function localise(where = document) {
  for (const time of where.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      time.title = time.dateTime.replace("T", " ").replace("Z", " UTC");
      time.textContent = at.toLocaleString(locale, {
        // In the audit it matters what came first.
        dateStyle: "medium", timeStyle: time.closest("#records") ? "medium" : "short",
      });
    }
  }
}
localise();
for (const button of document.querySelectorAll("button[data-copies]")) {
  // Browsers have no clipboard where the console is had without TLS from another machine.
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
// A page that is kept up to date by htmx: nothing is asked for where nobody looks, what fails leaves
// the figures as they are and says so, and a session that has ended leads to where one begins.
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
