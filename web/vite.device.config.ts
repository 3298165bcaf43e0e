import { defineConfig } from 'vite';
import app from './vite.config';

// The page that a device's daemon shows on its own machine: it comes with the device, not with a server. It is the only one
// of its build, so no setting is merged that names the app's pages, and nothing of theirs is copied along.
export default defineConfig({ ...app, publicDir: false, build: { ...app.build, rolldownOptions: { input: 'device.html' } } });
