// dashboard.json → scene of Grafana's packages: variables, queries, units, thresholds, legends, grid.
import {
  createTheme, DataFrame, EventBusSrv, FieldType, LoadingState, numberOverrideProcessor, PanelPlugin,
  PanelProps, standardFieldConfigEditorRegistry, ThemeContext, thresholdsOverrideProcessor,
  unitOverrideProcessor,
} from '@grafana/data';
import {
  config, setDataSourceSrv, setPluginImportUtils, setRunRequest, setTemplateSrv,
} from '@grafana/runtime';
import {
  DataSourceVariable, EmbeddedScene, QueryVariable, SceneGridItem, SceneGridLayout, sceneGraph,
  SceneQueryRunner, SceneTimeRange, SceneVariableSet, VariableValueSelectors, VizPanel,
} from '@grafana/scenes';
import { GlobalStyles, PanelContextProvider, TimeSeries } from '@grafana/ui';
import { useEffect, useRef } from 'react';
import { createRoot } from 'react-dom/client';
import { MemoryRouter } from 'react-router-dom';
import { map } from 'rxjs';
import { PrometheusApi } from './prometheus';

const address = new URLSearchParams(location.search).get('prometheus')!;
const source = new PrometheusApi(address);
const drawn: Record<string, { lines: string[]; ink: number; error?: string }> = {};

// What stands in the page is said, not what was asked for: legend, and coloured pixels of the lines.
function say(title: string, place: HTMLElement, error?: string) {
  const legend = [...place.querySelectorAll('li button, tr button')].map((each) => each.textContent ?? '');
  const canvas = place.querySelector('canvas');
  const pixels = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
  let ink = 0;
  for (let at = 0; at < pixels.length; at += 4) {
    const [red, green, blue, alpha] = [pixels[at], pixels[at + 1], pixels[at + 2], pixels[at + 3]];
    if (alpha > 200 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) ink += 1;
  }
  drawn[title] = { lines: legend, ink, error };
  document.getElementById('drawn')!.textContent = JSON.stringify(drawn);
}

setDataSourceSrv({
  get: async () => source,
  getList: () => [{ name: 'Prometheus', uid: 'prometheus', type: 'prometheus', meta: {} }],
  getInstanceSettings: () => source as any,
  reload: () => undefined,
} as any);
setRunRequest((api: any, request: any) => api.query(request).pipe(
  map((answer: any) => ({
    state: LoadingState.Done, series: answer.data, timeRange: request.range, request,
  }))) as any);
setTemplateSrv({
  replace: (text: string, scoped: any, format: any) =>
    sceneGraph.interpolate(scoped?.__sceneObject?.value?.valueOf?.() ?? scene, text ?? '', scoped, format),
  getVariables: () => [], containsTemplate: () => false, updateTimeRange: () => undefined,
} as any);

// Grafana's server registers its standard options and the panel "timeseries"; both are rebuilt here
// from what its packages export.
const keep = (value: any) => value;
const option = (id: string, process: any, defaultValue?: any) => ({
  id, path: id, name: id, process, defaultValue, editor: () => null, override: () => null,
  shouldApply: () => true, settings: {},
});
standardFieldConfigEditorRegistry.setInit(() => [
  option('unit', unitOverrideProcessor), option('min', numberOverrideProcessor),
  option('max', numberOverrideProcessor), option('thresholds', thresholdsOverrideProcessor),
  option('color', keep, { mode: 'palette-classic' }),
] as any);

// As that panel does: what is no number is a gap.
const gaps = (frame: DataFrame): DataFrame => ({
  ...frame,
  fields: frame.fields.map((field) => (field.type !== FieldType.number ? field : {
    ...field, values: field.values.map((each: number) => (Number.isFinite(each) ? each : null)),
  })),
});

function Panel({ data, timeRange, width, height, options, title }: PanelProps<any>) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const later = setTimeout(() => place.current && say(title, place.current, data.error?.message), 1000);
    return () => clearTimeout(later);
  });
  return (
    <div ref={place}>
      <PanelContextProvider value={{ eventsScope: title, eventBus: new EventBusSrv() } as any}>
        <TimeSeries frames={data.series.map(gaps)} structureRev={data.structureRev} timeRange={timeRange}
          timeZone="utc" width={width} height={height} legend={options.legend}>
          {() => <></>}
        </TimeSeries>
      </PanelContextProvider>
    </div>
  );
}
const plugin = new PanelPlugin(Panel).useFieldConfig({
  useCustomConfig: (builder) => {
    const start = {
      lineWidth: 1, fillOpacity: 0, drawStyle: 'line', showPoints: 'auto',
      thresholdsStyle: { mode: 'off' },
    };
    for (const [id, value] of Object.entries(start)) builder.addCustomEditor(option(id, keep, value) as any);
  },
});
plugin.meta = { id: 'timeseries', name: 'Time series', info: {} } as any;
setPluginImportUtils({
  importPanelPlugin: async () => plugin, getPanelPluginFromCache: () => plugin,
} as any);

const made = await (await fetch('dashboard.json')).json();
const [first, second] = made.templating.list;
const scene = new EmbeddedScene({
  $timeRange: new SceneTimeRange({ from: 'now-1m', to: 'now', timeZone: made.timezone }),
  $variables: new SceneVariableSet({
    variables: [
      new DataSourceVariable({ name: first.name, label: first.label, pluginId: first.query }),
      new QueryVariable({
        name: second.name, label: second.label, datasource: second.datasource, query: second.query,
        isMulti: second.multi, includeAll: second.includeAll, allValue: second.allValue,
        value: second.current.value, text: second.current.text, refresh: second.refresh,
      }),
    ],
  }),
  controls: [new VariableValueSelectors({})],
  body: new SceneGridLayout({
    children: made.panels.map((panel: any) => new SceneGridItem({
      x: panel.gridPos.x, y: panel.gridPos.y, width: panel.gridPos.w, height: panel.gridPos.h,
      body: new VizPanel({
        pluginId: panel.type, title: panel.title, description: panel.description,
        options: panel.options, fieldConfig: panel.fieldConfig,
        $data: new SceneQueryRunner({ datasource: panel.datasource, queries: panel.targets }),
      }),
    })),
  }),
});
config.theme2 = createTheme({ colors: { mode: 'dark' } });
createRoot(document.getElementById('root')!).render(
  <MemoryRouter>
    <ThemeContext.Provider value={config.theme2}>
      <GlobalStyles />
      <div style={{ height: '1700px', padding: '8px' }}><scene.Component model={scene} /></div>
    </ThemeContext.Provider>
  </MemoryRouter>,
);
