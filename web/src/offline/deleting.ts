// A database of the browser, gone for good.
const WAIT_MS = 3_000;

/** Delete a database. Other pages of the app let go of it when they hear of that; who does not is not waited for long. */
export function deleted(name: string): Promise<void> {
  return new Promise((resolve) => {
    const asked = indexedDB.deleteDatabase(name);
    asked.onsuccess = asked.onerror = () => resolve();
    setTimeout(resolve, WAIT_MS);
  });
}
