using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Objectives;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Objectives;

/// <summary>Terms of weights alone add the gradients of their formulas, to every member its own.</summary>
public sealed class WeightTermTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly CausalLanguageModel _model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);

    public void Dispose()
    {
        _model.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Rows_of_a_task_s_pair_are_kept_from_overlapping_with_those_of_the_shared_pair()
    {
        var spec = Spec(new Objective.Orthogonality(0.3)) with { TaskBranch = new TaskBranch(3, 2, Blocks: 1) };

        AssertGradients(spec, (tensors, has) => has(TaskBranch.A)
            ? Overlap(tensors(LowRankFactors.A), tensors(TaskBranch.A)).mul(Living.Of(0.3))
            : null, LowRankFactors.A, TaskBranch.A);
    }

    [Fact]
    public void Rows_of_the_live_pair_are_kept_from_overlapping_with_those_of_merged_links()
    {
        var step = new LifecycleStep(RoundSet.Parse("every 2")!, new LifecycleAction.MergeAndRedraw());
        var spec = (Spec(new Objective.Orthogonality(0.3)) with { Lifecycle = [step] }).At(round: 5, rounds: 6)
            .With(FrozenLinks.A, static links => links with { Init = Init.Gaussian(0.3) });
        Assert.Equal(2, spec.Links);

        AssertGradients(
            spec, (tensors, _) => Overlap(tensors(LowRankFactors.A), tensors(FrozenLinks.A)).mul(Living.Of(0.3)), LowRankFactors.A);
    }

    [Theory]
    [InlineData(1, Downs.One, 0.5)]
    [InlineData(3, Downs.One, 0.3)]
    [InlineData(3, Downs.PerHead, 0.3)]
    public void The_last_ranks_of_every_head_wither(int heads, Downs downs, double gamma)
    {
        var spec = Spec(new Objective.RankPrune(0.7, gamma)) with { Heads = heads, Downs = downs, Routing = new Routing.Mean() };
        var kept = (long)Math.Floor(gamma * spec.Rank);

        AssertGradients(spec, (tensors, _) =>
        {
            var (a, b) = (tensors(LowRankFactors.A), tensors(LowRankFactors.B));
            var count = downs == Downs.PerHead ? heads : 1;
            var last = Enumerable.Range(0, count).Select(down => a.narrow(0, (down * spec.Rank) + kept, spec.Rank - kept));
            var rows = last.Select(static part => part.Squared().sum()).Aggregate(static (sum, next) => sum.Plus(next)).sqrt();
            return (b.narrow(2, kept, spec.Rank - kept).Squared().sum().sqrt() * rows).mul(Living.Of(0.7));
        }, LowRankFactors.A, LowRankFactors.B);
    }

    [Fact]
    public void Heads_that_are_zero_have_finite_gradients_under_rank_pruning()
    {
        var layout = LayoutOf(Spec(new Objective.RankPrune(0.7, 0.5)));
        using var members = new StackedMembers(layout, _model, [0, 1], ScalarType.Float64, away: 0);

        Term(members.Stack).AddGradients(2);

        Assert.All(GroupProofs.Gradients(members.Stack), static value => Assert.True(float.IsFinite(value)));
    }

    [Fact]
    public void What_is_aggregated_is_pulled_to_where_the_round_began_and_heads_are_not()
    {
        var spec = Spec(new Objective.Proximal(0.4)).With("B", static b => b with { Scope = Scope.Client });
        using var members = new StackedMembers(LayoutOf(spec), _model, [0, 1], ScalarType.Float64);
        var term = Term(members.Stack);
        var before = members.Stack.Blocks.Select(static block => block.Value.clone()).ToList();
        foreach (var block in members.Stack.Blocks) block.Value.mul_(Living.Of(1.5));

        term.AddGradients(1);

        foreach (var (block, start) in members.Stack.Blocks.Zip(before))
        {
            var pulled = block.Policy.Scope == Scope.Job ? start.mul(Living.Of(0.5 * 0.4)) : zeros_like(start);
            Autograd.AssertClose(pulled[0].Plus(Living.One), block.Gradient[0].Plus(Living.One), block.Tensors[0].Role.Name, 1e-14);
            Assert.Equal(0, block.Gradient[1].count_nonzero().item<long>()); // who has no steps left is not looked at
        }
    }

    private static AdapterSpec Spec(Objective term) => new()
    {
        Rank = 4, Objectives = [term], TargetModules = ["q_proj", "gate_proj", "down_proj"], Dropout = Dropout.None,
    };

    private AdapterLayout LayoutOf(AdapterSpec spec) => StackedMembers.LayoutOf(spec, _model);

    private static ObjectiveTerm Term(AdapterStack stack) => Assert.Single(ObjectiveTerms.Of(new(
        new() { Name = "terms", Model = new() { Path = "model" }, Adapter = stack.Layout.Spec, Clients = [TinyFederation.Client("one")] },
        Abstractions.Tensors.AdapterState.Empty, stack, [])));

    // By libtorch's autograd over the formula, one member and one layer at a time.
    private void AssertGradients(AdapterSpec spec, Func<Func<string, Tensor>, Func<string, bool>, Tensor?> formula, params string[] roles)
    {
        var layout = LayoutOf(spec);
        using var members = new StackedMembers(layout, _model, [0, 1, 2], ScalarType.Float64);
        Term(members.Stack).AddGradients(3);
        for (var member = 0; member < 3; member++)
        {
            var adapter = members.Stack.Member(member);
            foreach (var target in layout.Targets)
            {
                var leaves = adapter.Parameters.Where(parameter => parameter.Info.Target == target.Layer).ToDictionary(
                    static parameter => parameter.Info.Role.Name, static parameter => parameter.Value.clone().requires_grad_());
                formula(role => leaves[role], leaves.ContainsKey)?.backward();
                foreach (var (role, leaf) in leaves)
                {
                    if (members.Stack.GradientOf(member, AdapterTensor.NameOf(target.Module, role)) is not { } actual) continue;
                    Assert.Equal(leaf.grad is not null, actual.count_nonzero().item<long>() > 0);
                    Assert.True(leaf.grad is null || roles.Contains(role), role);
                    if (leaf.grad is { } expected) Autograd.AssertClose(expected, actual, $"{target.Module}.{role}", 1e-10);
                }
            }
        }
    }

    private static Tensor Overlap(Tensor a, Tensor other) => a.mm(other.t()).Squared().sum();
}
