import { defineConfig } from 'vite';

// The service worker is one file without imports, at an address that stays: only so every browser takes it.
export default defineConfig({
  publicDir: false,
  build: {
    target: 'es2022',
    emptyOutDir: true,
    // The build puts values into its text, and looks for their places.
    minify: false,
    rolldownOptions: { input: ['src/sw.ts'], output: { entryFileNames: '[name].js', codeSplitting: false } },
  },
});
