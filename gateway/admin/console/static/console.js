// What a page cannot say without a script: the reader's own time, and a copy at one press.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.valueOf())) {
    time.title = time.dateTime.replace("T", " ").replace("Z", " UTC");
    time.textContent = at.toLocaleString(document.documentElement.lang, {
      dateStyle: "medium", timeStyle: "short",
    });
  }
}
for (const button of document.querySelectorAll("button[data-copies]")) {
  button.hidden = false;
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
