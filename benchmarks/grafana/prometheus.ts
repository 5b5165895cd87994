// A data source over Prometheus' HTTP API. Grafana's own needs Grafana's server.
import {
  DataFrame, DataQueryRequest, DataQueryResponse, DataSourceApi, DataSourceInstanceSettings,
  FieldType, MetricFindValue, ScopedVars, toDataFrame,
} from '@grafana/data';
import { getTemplateSrv } from '@grafana/runtime';
import { from, Observable } from 'rxjs';

type Target = { refId: string; expr: string; legendFormat?: string };
type Series = { metric: Record<string, string>; values: Array<[number, string]> };

const legend = (format: string | undefined, labels: Record<string, string>) =>
  (format ?? '').replace(/\{\{\s*(.+?)\s*\}\}/g, (_, name) => labels[name] ?? '');

// Strings of one variable's values become alternatives of a regular expression, as in Grafana.
const joined = (value: unknown) => (Array.isArray(value) ? `(${value.join('|')})` : String(value));

export class PrometheusApi extends DataSourceApi<any> {
  constructor(private address: string) {
    super({ id: 1, uid: 'prometheus', type: 'prometheus', name: 'Prometheus', meta: {} } as unknown as
      DataSourceInstanceSettings);
  }

  query(request: DataQueryRequest<Target & any>): Observable<DataQueryResponse> {
    return from(Promise.all(request.targets.map((each) => this.one(each, request)))
      .then((frames) => ({ data: frames.flat() })));
  }

  private async one(target: Target, request: DataQueryRequest<any>): Promise<DataFrame[]> {
    const step = Math.max(1, Math.round(request.intervalMs / 1000));
    const scoped: ScopedVars = {
      ...request.scopedVars,
      __rate_interval: { text: '8s', value: '8s' }, // four scrapes of two seconds, as Grafana counts
    };
    const expr = getTemplateSrv().replace(target.expr, scoped, joined);
    const query = new URLSearchParams({
      query: expr, step: String(step),
      start: String(request.range.from.valueOf() / 1000), end: String(request.range.to.valueOf() / 1000),
    });
    const answer = await (await fetch(`${this.address}/api/v1/query_range?${query}`)).json();
    if (answer.status !== 'success') throw new Error(answer.error);
    const found: Series[] = answer.data.result;
    return found.map((each) => toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: each.values.map(([at]) => at * 1000) },
        {
          name: 'Value', type: FieldType.number, values: each.values.map(([, value]) => Number(value)),
          labels: each.metric, config: { displayNameFromDS: legend(target.legendFormat, each.metric) },
        },
      ],
    }));
  }

  async metricFindQuery(query: any): Promise<MetricFindValue[]> {
    const text = typeof query === 'string' ? query : query.query;
    const [, metric, label] = /^label_values\((\w+),\s*(\w+)\)$/.exec(text)!;
    const answer = await (await fetch(
      `${this.address}/api/v1/label/${label}/values?match[]=${metric}`)).json();
    return answer.data.map((each: string) => ({ text: each }));
  }

  async testDatasource() { return { status: 'success', message: '' }; }
  getRef() { return { type: 'prometheus', uid: 'prometheus' }; }
}
