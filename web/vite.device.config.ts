import { defineConfig, mergeConfig } from 'vite';
import app from './vite.config';

// The page that a device's daemon shows on its own machine: it comes with the device, not with a server.
export default mergeConfig(app, defineConfig({ build: { rollupOptions: { input: 'device.html' } } }));
