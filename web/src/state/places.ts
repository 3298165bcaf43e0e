// Every page of a signed-in account: how it is loaded, and where the navigation shows it. A page is one line here, its
// first part in route.svelte.ts and gateway/web.py, and its component.
import type { Component } from 'svelte';
import type { IconName } from '../parts/Icon.svelte';
import type { Key } from '../text/en';
import type { Page } from './route.svelte';

export interface Place {
  /** Loaded when it is opened for the first time: what people open first stays small. */
  load: () => Promise<{ default: Component }>;
  /** The place in the navigation that it is shown under. */
  under: Page;
  /** What the navigation shows for it; without one it is reached from elsewhere. */
  shown?: { label: Key; icon: IconName };
  /** For others there is no such page. */
  isForAdmins?: boolean;
}

/** In the order of the navigation; on a narrow screen the first ones stand in the bar, the rest behind “More”. */
export const PLACES: Partial<Record<Page, Place>> = {
  shared: { load: () => import('../pages/Shared.svelte'), under: 'shared', shown: { label: 'nav.shared', icon: 'people' } },
  activity: { load: () => import('../pages/Activity.svelte'), under: 'activity', shown: { label: 'nav.activity', icon: 'activity' } },
  rewind: { load: () => import('../pages/Rewind.svelte'), under: 'files' },
  conflicts: { load: () => import('../pages/Conflicts.svelte'), under: 'conflicts' },
  trash: { load: () => import('../pages/Trash.svelte'), under: 'trash', shown: { label: 'nav.trash', icon: 'trash' } },
  offline: { load: () => import('../pages/Offline.svelte'), under: 'offline', shown: { label: 'nav.offline', icon: 'offline' } },
  devices: { load: () => import('../pages/Devices.svelte'), under: 'devices', shown: { label: 'nav.devices', icon: 'device' } },
  device: { load: () => import('../pages/Approve.svelte'), under: 'devices' },
  admin: { load: () => import('../pages/Admin.svelte'), under: 'admin', shown: { label: 'nav.admin', icon: 'gauge' }, isForAdmins: true },
  search: { load: () => import('../pages/Search.svelte'), under: 'search' },
  settings: { load: () => import('../pages/Settings.svelte'), under: 'settings' },
};
