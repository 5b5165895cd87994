import react from '@vitejs/plugin-react';

export default {
  plugins: [react()],
  // Grafana's components ask for router 5 with 6 inside it, its scenes for 6: one of them is enough.
  resolve: { alias: { 'react-router-dom-v5-compat': 'react-router-dom' } },
  define: { 'process.env': '{}', global: 'globalThis' },
  build: {
    target: 'esnext', chunkSizeWarningLimit: 50000,
    rollupOptions: { shimMissingExports: true }, // of panels that are not drawn here
  },
};
