import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// No file is put into another as data: the page's policy allows what comes from its own origin alone.
export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    emptyOutDir: true,
    // The page of links is one of its own: who only looks at a link loads nothing of the account's pages.
    rolldownOptions: { input: ['index.html', 'link.html'] },
  },
  worker: { format: 'es' },
});
