"""What the tests of the web app drive: a Chromium out of an npm package, and pictures of all pages."""
