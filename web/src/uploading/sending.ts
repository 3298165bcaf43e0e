// One file on its way up. Whole files for now: what was paused or broke off is sent anew from its first byte.
import { queryOf, Refusal, refusalOf } from '../api/client';

export interface Sending {
  done: Promise<void>;
  stop: () => void;
}

/** Send a file to a path; where one is there already, only when `isReplacing`. done throws: Refusal, AbortError. */
export function send(path: string, file: File, isReplacing: boolean, onSent: (bytes: number) => void): Sending {
  const request = new XMLHttpRequest();
  const done = new Promise<void>((resolve, reject) => {
    request.upload.onprogress = (event) => onSent(Math.min(event.loaded, file.size));
    request.onload = () => {
      if (request.status < 300) resolve();
      else reject(refusalOf(request.status, request.responseText));
    };
    request.onerror = () => reject(new Refusal(0, 'unreachable', '', '', ''));
    request.onabort = () => reject(new DOMException('stopped', 'AbortError'));
    // A browser tells milliseconds; as text, since the number is past what it counts exactly.
    const query = queryOf({ path, mtime_ns: file.lastModified ? `${file.lastModified}000000` : '' });
    request.open('PUT', `/api/v1/content${query}`);
    request.setRequestHeader('content-type', 'application/octet-stream');
    if (!isReplacing) request.setRequestHeader('if-none-match', '*');
    request.send(file);
  });
  return { done, stop: () => request.abort() };
}
