import { showReview } from '../../ui/review';

showReview(document);
