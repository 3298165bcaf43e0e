// One way to ask the service. The browser sends its cookie by itself; no token is ever in reach of a script.
import type { Routes } from './types';

export type Route = keyof Routes;

/** What the service answered instead of what was asked for. status 0: it was not reached. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string,
    readonly id: string,
    /** When the service asks to be asked again, in seconds; 0 if it said nothing. */
    readonly retryAfterS = 0,
    /** Why, as one word, where the service says it so. */
    readonly reason = '',
  ) {
    super(message);
  }
}

export interface Asking<R extends Route> {
  query?: Routes[R]['query'];
  body?: Routes[R]['body'];
  /** Values for the `{…}` parts of the route. */
  parts?: Record<string, string>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** A password or a code is in it: that it is wrong does not mean that the session is over. */
  isProof?: boolean;
  /** Only if the file is still at this rev. */
  ifMatch?: number;
}

/** Tell whether the service was not reached: there is no network, or what stands before it says that it is not there. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof Refusal && (error.status === 0 || (error.code === 'fault' && [502, 503, 504].includes(error.status)));
}

let onSignedOut: () => void = () => undefined;

/** Say what is done when the session is over. */
export function whenSignedOut(act: () => void): void {
  onSignedOut = act;
}

/** Ask one route. Throws: Refusal. */
export async function ask<R extends Route>(route: R, asking: Asking<R> = {}): Promise<Routes[R]['answer']> {
  const [method = 'GET', template = ''] = route.split(' ');
  const path = template.replace(/\{(\w+)(?::\w+)?\}/g, (_, name: string) => encodeURIComponent(asking.parts?.[name] ?? ''));
  const init: RequestInit = { method, credentials: 'same-origin', headers: { accept: 'application/json', ...asking.headers } };
  if (asking.signal) init.signal = asking.signal;
  if (asking.body !== undefined) {
    init.body = JSON.stringify(asking.body);
    init.headers = { ...init.headers, 'content-type': 'application/json' };
  }
  if (asking.ifMatch !== undefined) init.headers = { ...init.headers, 'if-match': `"${asking.ifMatch}"` };
  const response = await reached(path + queryOf(asking.query), init);
  const text = await response.text();
  if (!response.ok) throw refusalOf(response.status, text, response.headers.get('retry-after'), asking.isProof);
  return (text ? JSON.parse(text) : undefined) as Routes[R]['answer'];
}

/** Return the bytes of a file. Throws: Refusal. */
export async function bytesOf(address: string, signal?: AbortSignal): Promise<Blob> {
  const response = await reached(address, { credentials: 'same-origin', ...(signal ? { signal } : {}) });
  if (!response.ok) throw refusalOf(response.status, await response.text());
  return response.blob();
}

/** Return the address of a file's bytes. */
export function contentAddress(query: Routes['GET /api/v1/content']['query']): string {
  return '/api/v1/content' + queryOf(query);
}

/** Return the address of the pages of the PDF whose bytes are at `address`. */
export function pagesAddress(address: string): string {
  return address.replace(/\/content(?=\?|$)/, '/content/pages');
}

/** Return the address of the picture of one of its pages, from 1. */
export function pageAddress(address: string, page: number, width: string): string {
  const asked = `page=${page}&width=${width}`;
  return address.replace(/\/content(?=\?|$)/, '/content/page') + (address.includes('?') ? '&' : '?') + asked;
}

export function queryOf(query: object | undefined): string {
  const told = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== '');
  return told.length ? '?' + new URLSearchParams(told.map(([name, value]) => [name, String(value)])).toString() : '';
}

export function refusalOf(status: number, text: string, retryAfter: string | null = null, isProof = false): Refusal {
  let refusal: Refusal;
  const retryAfterS = Number(retryAfter) || 0;
  try {
    const told = (JSON.parse(text) as { error: { code: string; message: string; hint: string; id: string; fields?: { reason?: unknown } } }).error;
    refusal = new Refusal(status, told.code, told.message, told.hint, told.id, retryAfterS, String(told.fields?.reason ?? ''));
  } catch {
    refusal = new Refusal(status, 'fault', text.slice(0, 200), '', '', retryAfterS);
  }
  if (refusal.code === 'unauthenticated' && !isProof) onSignedOut();
  return refusal;
}

async function reached(address: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(address, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new Refusal(0, 'unreachable', '', '', '');
  }
}
