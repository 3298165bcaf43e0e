// Into the clipboard, also where the page came over plain HTTP and browsers have none for it.
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
