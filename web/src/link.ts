// The page of whoever holds a link. It knows of no account: only what the link opens is asked for.
import './design/tokens.css';
import './design/base.css';
import { mount } from 'svelte';
import LinkOpened from './pages/LinkOpened.svelte';
import { beginTheme } from './state/theme.svelte';
import { beginLanguage } from './text/index.svelte';

beginTheme();
void beginLanguage().finally(() => {
  const target = document.getElementById('app');
  if (target) mount(LinkOpened, { target, props: { token: location.pathname.split('/')[2] ?? '' } });
});
