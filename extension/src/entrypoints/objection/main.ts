import { showObjection } from '../../ui/objection';

showObjection(document);
