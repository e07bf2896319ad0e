def test_says_how_long_it_took(run):
    result = run("warmup")
    assert result.exit_code == 0
    assert result.stdout.startswith("ready after ")
