# What becomes of a group of jobs of which some fail. Snakemake would remove what all of them have
# made, tell that all have failed, and try all of them again; here the others' products count.

import time

from snakemake.exceptions import RuleException, WorkflowError, print_exception
from snakemake.jobs import GroupJob
from snakemake.scheduling.job_scheduler import JobScheduler

_begun = time.time()
_handle_any_error = JobScheduler._handle_error
_schedule = JobScheduler.schedule
_tell_of_group = GroupJob.log_error


def go_on(scheduler):
    """Do within a group what does not wait for a failed job of it."""
    scheduler.keepgoing = True
    return _schedule(scheduler)


def is_made(job):
    """Whether a job has made its products in this run; each is written whole or not at all.

    What there was before is removed when a job starts, and what it leaves when it fails.
    """
    return all(
        os.path.exists(file) and os.path.getmtime(file) >= _begun for file in job.output
    )


def part_of(group, jobs):
    """A group of some of a group's jobs."""
    part = GroupJob(group.groupid, frozenset(jobs), group.global_resources)
    part.finalize()
    return part


def tell_of_failed(group, *arguments, **options):
    """Tell of those jobs of a group that failed, not of those that wait for them."""
    left = [job for job in group if not is_made(job)] or list(group)
    failed = [job for job in left if all(map(os.path.exists, job.input))]
    _tell_of_group(part_of(group, failed or left), *arguments, **options)


def handle_error(scheduler, job, postprocess_job=True):
    """Finish those jobs of a failed group that have succeeded; try only the others again."""
    made = [one for one in job if is_made(one)] if job.is_group() else []
    if not postprocess_job or len(made) in (0, len(job)):
        _handle_any_error(scheduler, job, postprocess_job)
        return
    dag = scheduler.workflow.dag
    done, left = part_of(job, made), part_of(job, set(job) - set(made))
    dag._group.update({one: part for part in (done, left) for one in part})
    dag._running = (dag._running - {job}) | {done, left}
    left.attempt = job.attempt
    # The scheduler takes back what it gave to the whole group.
    left._scheduler_resources = job.scheduler_resources
    scheduler.running = (scheduler.running - {job}) | {left}
    _handle_any_error(scheduler, left)
    finish(scheduler, done)


def finish(scheduler, done):
    """Put jobs of a failed group that have succeeded on record; what fails of that is their fault."""
    try:
        scheduler.workflow.async_run(done.postprocess())
    except (RuleException, WorkflowError) as error:
        print_exception(error, scheduler.workflow.linemaps)
        scheduler.workflow.async_run(done.postprocess(error=True))
        scheduler._errors = True
        scheduler.failed.add(done)
        return
    scheduler.workflow.async_run(
        scheduler.workflow.dag.finish(done, scheduler.update_checkpoint_dependencies)
    )
    scheduler.finished_jobs += len(done)


if not workflow.is_main_process:
    JobScheduler.schedule = go_on
GroupJob.log_error = tell_of_failed
JobScheduler._handle_error = handle_error
