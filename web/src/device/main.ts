import '../design/tokens.css';
import '../design/base.css';
import { mount } from 'svelte';
import { beginTheme } from '../state/theme.svelte';
import { beginLanguage } from '../text/index.svelte';
import DevicePage from './DevicePage.svelte';
import { beginDaemon } from './daemon.svelte';

beginTheme();
void Promise.all([beginLanguage(), beginDaemon()]).finally(() => {
  const target = document.getElementById('app');
  if (target) mount(DevicePage, { target });
});
