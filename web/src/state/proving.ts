// What is said of a password or a code that was asked for once more, in the midst of a session.
import { Refusal } from '../api/client';
import { t } from '../text/index.svelte';
import { renewAccount } from './session.svelte';
import { wordsFor } from './toasts.svelte';

/** Return what to say of a refusal. That a session is over is found out by asking for the account. */
export function proofProblem(error: unknown, wrong = t('settings.passwordWrong')): string {
  if (!(error instanceof Refusal) || error.status !== 401) return wordsFor(error).text;
  void renewAccount().catch(() => undefined);
  return wrong;
}
