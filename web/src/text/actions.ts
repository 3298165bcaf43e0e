// What is said of a row of the audit log.
import { enAdmin } from './en_admin';
import { isKey, sizeText, t } from './index.svelte';

const BEFORE = 'did.';
export const ACTIONS: readonly string[] = Object.keys(enAdmin)
  .filter((key) => key.startsWith(BEFORE))
  .map((key) => key.slice(BEFORE.length));

export function actionText(action: string): string {
  const key = BEFORE + action;
  return isKey(key) ? t(key) : action;
}

/** Tell whether a text is an id, which says nothing to people; the command line shows them. */
export function isId(text: unknown): boolean {
  return typeof text === 'string' && /^[0-9a-f]{32,}$/.test(text);
}

function wordsOf(name: string, value: unknown): string {
  const key = `told.${name}${value === false ? '.not' : ''}`;
  if (!isKey(key)) return `${name}: ${String(value)}`;
  return t(key, { value: name.endsWith('_bytes') ? sizeText(Number(value)) : String(value) });
}

/** Return plain values, written as JSON, as people read them; without ids. */
export function detailText(detail: string): string {
  try {
    const told = JSON.parse(detail || '{}') as Record<string, unknown>;
    return Object.entries(told)
      .filter(([, value]) => value !== null && value !== '' && !isId(value))
      .map(([name, value]) => wordsOf(name, value))
      .join(', ');
  } catch {
    return detail;
  }
}
