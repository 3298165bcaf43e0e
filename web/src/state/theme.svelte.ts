// Light or dark: as the system says, unless chosen.
export type Theme = 'auto' | 'light' | 'dark';
export const THEMES: readonly Theme[] = ['auto', 'light', 'dark'];

const STORED = 'satchel.theme';
const state = $state<{ theme: Theme }>({ theme: 'auto' });

export function theme(): Theme {
  return state.theme;
}

export function useTheme(wanted: Theme): void {
  state.theme = wanted;
  localStorage.setItem(STORED, wanted);
  if (wanted === 'auto') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = wanted;
}

export function beginTheme(): void {
  const stored = localStorage.getItem(STORED);
  useTheme(THEMES.find((one) => one === stored) ?? 'auto');
}
