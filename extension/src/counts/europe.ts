/** The map's shapes: Natural Earth's 1:50m countries, reduced by the build to those that a map of Europe shows. */

// The build puts the reduced map here (scripts/build-counts.mjs).
import europe from 'virtual:europe';
import type { Feature, FeatureCollection, Geometry } from 'geojson';
import { feature } from 'topojson-client';
import type { GeometryCollection, Topology } from 'topojson-specification';

/** `geo`: ISO 3166-1 alpha-2 of the countries that are counted; of the others nothing. */
export type Shape = Feature<Geometry, { geo?: string }>;

const topology = europe as unknown as Topology<{ countries: GeometryCollection<{ geo?: string }> }>;

export function shapes(): Shape[] {
  const collection: FeatureCollection<Geometry, { geo?: string }> = feature(topology, topology.objects.countries);
  return collection.features;
}
