// Bytes that the page has, saved as a file.
/** Have the browser save some bytes under a name. They are never opened as a page: it is a download. */
export function saveBytes(bytes: Blob, name: string): void {
  const address = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
