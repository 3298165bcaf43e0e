import './design/tokens.css';
import './design/base.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { beginRoute } from './state/route.svelte';
import { beginSession } from './state/session.svelte';
import { beginTheme } from './state/theme.svelte';
import { beginLanguage } from './text/index.svelte';

beginTheme();
beginRoute();
void Promise.all([beginLanguage(), beginSession()]).finally(() => {
  const target = document.getElementById('app');
  if (target) mount(App, { target });
});
