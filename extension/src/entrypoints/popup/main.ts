import { showPopup } from '../../ui/popup';

showPopup(document);
