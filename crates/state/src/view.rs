//! What readers hold: the state at one revision, without a lock and without stopping anybody.
//!
//! [`Reader`] is the door: every reader of a member has a clone. [`Reader::latest`] pairs the view
//! of the index with a view of the engine that is at least as new, so that every version the index
//! shows can be found in the history.

use std::sync::Arc;

use std::collections::BTreeMap;

use arc_swap::ArcSwap;

use crate::alarms::Alarms;
use crate::engine::{EngineSize, EngineView};
use crate::members::Member;
use crate::mvcc::index::{IndexReader, IndexView, ViewError};
use crate::mvcc::pages::PageCounts;
use crate::types::{LogIndex, MemberId, Revision, Term};

/// Opens views. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    index: IndexReader,
    pages: Arc<PageCounts>,
    published: Arc<ArcSwap<Published>>,
    keeps_values_resident: bool,
}

/// What a turn left behind, beside the index.
pub struct Published {
    engine: Arc<dyn EngineView>,
    /// The last entry applied.
    pub applied: LogIndex,
    /// Its term: what response headers show.
    pub term: Term,
    /// How much the data takes.
    pub size: EngineSize,
    /// Members, alarms and cluster version.
    pub tables: Arc<Tables>,
}

impl Published {
    pub(crate) fn new(engine: Arc<dyn EngineView>, tables: Arc<Tables>) -> Published {
        Published {
            engine,
            applied: LogIndex::default(),
            term: Term::default(),
            size: EngineSize::default(),
            tables,
        }
    }
}

/// The small tables, replaced as a whole when one changes: rarely.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// The active alarms.
    pub alarms: Alarms,
    /// The members as applied.
    pub members: BTreeMap<MemberId, Member>,
    /// `major.minor.patch`, once decided.
    pub cluster_version: Option<String>,
}

/// The state at one revision.
#[derive(Clone)]
pub struct ReadView {
    index: IndexView,
    pages: Arc<PageCounts>,
    engine: Arc<dyn EngineView>,
    store_revision: Revision,
    keeps_values_resident: bool,
}

impl Reader {
    pub(crate) fn new(
        index: IndexReader,
        published: Arc<ArcSwap<Published>>,
        keeps_values_resident: bool,
    ) -> Reader {
        Reader { index, pages: Arc::default(), published, keeps_values_resident }
    }

    /// The newest state.
    #[must_use]
    pub fn latest(&self) -> ReadView {
        // The index first: the engine's view is published before the index, hence never older.
        let index = self.index.latest();
        let store_revision = index.revision();
        self.view(index, store_revision)
    }

    /// The state at `revision`.
    ///
    /// # Errors
    /// The revision is compacted or not there yet.
    pub fn at(&self, revision: Revision) -> Result<ReadView, ViewError> {
        let index = self.index.at(revision)?;
        Ok(self.view(index, self.index.revision()))
    }

    fn view(&self, index: IndexView, store_revision: Revision) -> ReadView {
        ReadView {
            index,
            pages: Arc::clone(&self.pages),
            engine: self.engine_view(),
            store_revision,
            keeps_values_resident: self.keeps_values_resident,
        }
    }

    /// The history and tables as they are now, or were a moment ago.
    #[must_use]
    pub fn engine_view(&self) -> Arc<dyn EngineView> {
        Arc::clone(&self.published.load().engine)
    }

    /// What the last turn left behind, beside the keys.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// The index alone.
    #[must_use]
    pub fn index(&self) -> &IndexReader {
        &self.index
    }

    /// The newest revision that readers may see.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.index.revision()
    }

    /// The lowest revision that may be read; `None` before the first compaction.
    #[must_use]
    pub fn compacted(&self) -> Option<Revision> {
        self.index.compacted()
    }
}

impl ReadView {
    /// The revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.index.revision()
    }

    /// The revision of the store when the view was opened: what response headers show.
    #[must_use]
    pub fn store_revision(&self) -> Revision {
        self.store_revision
    }

    /// Keys at this revision.
    #[must_use]
    pub fn index(&self) -> &IndexView {
        &self.index
    }

    pub(crate) fn pages(&self) -> &PageCounts {
        &self.pages
    }

    /// Whether every record of the index holds its value.
    pub(crate) fn keeps_values_resident(&self) -> bool {
        self.keeps_values_resident
    }

    /// The history, at least up to this revision.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn EngineView> {
        &self.engine
    }
}
