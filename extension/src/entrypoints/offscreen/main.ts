import { serveLinks } from '../../platform/downloads';

serveLinks();
