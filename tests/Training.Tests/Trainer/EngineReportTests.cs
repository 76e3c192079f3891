using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Trainer;

[Collection(nameof(Alone))]
public class EngineReportTests
{
    [Fact]
    public void A_report_leaves_the_threads_of_the_process_as_they_were()
    {
        var before = OfANewThread();
        set_num_threads(3); // no count that a report would set
        EngineReport.Measure();

        Assert.Equal((3, 3), (get_num_threads(), OfANewThread()));
        set_num_threads(before);
    }

    [Fact]
    public void Lanes_are_as_many_as_cores_and_all_of_them_compute()
    {
        var report = EngineReport.Measure();

        Assert.Equal((Environment.ProcessorCount, 1), (report.Lanes, report.LaneThreads));
        Assert.True(report is { GflopsOneThread: > 0, GflopsAllLanes: > 0, GflopsAllThreads: > 0 });
    }

    private static int OfANewThread()
    {
        var found = 0;
        var thread = new Thread(() => found = get_num_threads());
        thread.Start();
        thread.Join();
        return found;
    }

    /// <summary>The count is of the process, and trainers of other tests set it.</summary>
    [CollectionDefinition(nameof(Alone), DisableParallelization = true)]
    public class Alone;
}
