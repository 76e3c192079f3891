namespace FedRLora.Training.Tests.Steps;

public class ThreadWaitingTests
{
    private const int Self = 20;
    private static readonly SeenProcess[] Alone =
        [new(1, 0, false, ["/sbin/init"]), new(10, 1, false, ["bash"]), new(Self, 10, false, ["dotnet", "/x/fedrlora.dll", "silo"])];

    [Fact]
    public void Threads_wait_long_where_nothing_of_ours_is_at_work() => Assert.Equal(ThreadWaiting.Long, Choose(Alone).SpinCount);

    [Theory]
    [InlineData("dotnet /opt/fedrlora.dll silo --site north")]
    [InlineData("/usr/share/dotnet/dotnet exec --depsfile /x/fedrlora.deps.json /x/fedrlora.dll simulate plan.yaml")]
    [InlineData("fedrlora eval model rows.jsonl")]
    [InlineData("./src/Client/bin/Release/net10.0/fedrlora generate")]
    [InlineData("bash ./fedrlora silo")]
    [InlineData("/bin/sh /usr/local/bin/fedrlora resume run")]
    public void Threads_wait_briefly_beside_one_that_computes(string line)
    {
        var chosen = Choose([.. Alone, new(30, 1, false, line.Split(' '))]);

        Assert.Equal(ThreadWaiting.Brief, chosen.SpinCount);
        Assert.Contains("process 30", chosen.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dotnet /opt/fedrlora.dll watch first")]
    [InlineData("fedrlora doctor")]
    [InlineData("fedrlora")]
    [InlineData("dotnet build FedRLora.sln")]
    [InlineData("vim fedrlora silo")]
    [InlineData("grep -r fedrlora silo")]
    [InlineData("dotnet /opt/other.dll silo")]
    public void One_that_only_asks_or_looks_counts_as_nothing(string line) =>
        Assert.Equal(ThreadWaiting.Long, Choose([.. Alone, new(30, 1, false, line.Split(' '))]).SpinCount);

    [Fact]
    public void A_process_that_has_ended_or_has_no_command_line_counts_as_nothing() =>
        Assert.Equal(ThreadWaiting.Long, Choose([.. Alone, new(30, 1, true, ["fedrlora", "silo"]), new(31, 2, false, [])]).SpinCount);

    [Fact]
    public void Whoever_started_this_process_is_not_beside_it()
    {
        SeenProcess[] started =
        [
            new(1, 0, false, ["init"]), new(10, 1, false, ["bash", "./fedrlora", "silo"]),
            new(Self, 10, false, ["dotnet", "fedrlora.dll", "silo"]),
        ];

        Assert.Equal(ThreadWaiting.Long, Choose(started).SpinCount);
    }

    [Fact]
    public void Beside_a_sibling_that_the_same_script_started_threads_wait_briefly() =>
        Assert.Equal(ThreadWaiting.Brief, Choose([.. Alone, new(21, 10, false, ["bash", "./fedrlora", "silo"])]).SpinCount);

    [Fact]
    public void Where_no_process_can_be_seen_threads_wait_long() => Assert.Equal(ThreadWaiting.Long, Choose([]).SpinCount);

    [Theory]
    [InlineData(0, ThreadWaiting.Long)]
    [InlineData(29, ThreadWaiting.Long)]
    [InlineData(30, ThreadWaiting.Brief)]
    [InlineData(97, ThreadWaiting.Brief)]
    public void On_a_busy_machine_threads_wait_briefly_whoever_keeps_it_busy(double pressure, int expected) =>
        Assert.Equal(expected, ThreadWaiting.Choose(static _ => null, Self, Alone, pressure).SpinCount);

    [Theory]
    [InlineData("brief", ThreadWaiting.Brief)]
    [InlineData("long", ThreadWaiting.Long)]
    public void The_variable_decides(string value, int expected) =>
        Assert.Equal(expected, Choose(Alone, (ThreadWaiting.Variable, value)).SpinCount);

    [Theory]
    [InlineData("OMP_WAIT_POLICY")]
    [InlineData("GOMP_SPINCOUNT")]
    public void Variables_of_the_library_go_first(string variable)
    {
        var chosen = Choose(Alone, (variable, "7"), (ThreadWaiting.Variable, "long"));

        Assert.Null(chosen.SpinCount);
        Assert.Equal($"{variable} is set", chosen.Reason);
    }

    [Theory]
    [InlineData("Long")]
    [InlineData("1000")]
    public void Another_value_of_the_variable_is_named(string value) =>
        Assert.Equal(
            $"FEDRLORA_SPIN: '{value}' is neither brief nor long; give one of them, or unset it.",
            Choose(Alone, (ThreadWaiting.Variable, value)).Problem);

    [Fact]
    public void An_empty_variable_is_not_set() => Assert.Null(Choose(Alone, (ThreadWaiting.Variable, "")).Problem);

    private static ThreadWaiting Choose(SeenProcess[] processes, params (string Name, string Value)[] variables) =>
        ThreadWaiting.Choose(name => variables.FirstOrDefault(variable => variable.Name == name).Value, Self, processes, pressure: null);
}
